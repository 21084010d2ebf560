package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/pflag"
)

// gpu are the settings of execution providers on a GPU.
type gpu struct {
	device    int
	precision string
	level     int
	workspace byteSize
	optBatch  int
	int8Table string
}

// gpuFlags are their names.
var gpuFlags = []string{"device", "precision", "trt-level", "trt-workspace", "trt-opt-batch", "trt-int8-table"}

func (g *gpu) flags(f *pflag.FlagSet) {
	f.IntVar(&g.device, "device", 0, "number of the GPU")
	f.StringVar(&g.precision, "precision", "fp32", "fp32, or with TensorRT fp16 or int8; other providers always use fp32")
	f.IntVar(&g.level, "trt-level", 3, "how thoroughly TensorRT builds: 0, fast, to 5, slow")
	f.Var(&g.workspace, "trt-workspace", "most bytes of GPU memory that TensorRT may use while it builds; 0: what there is")
	f.IntVar(&g.optBatch, "trt-opt-batch", 0, "batch size that TensorRT's engine is best at; 0: the largest")
	f.StringVar(&g.int8Table, "trt-int8-table", "", "`file` with TensorRT's calibration table, for int8 of a model that has no scales of its own")
}

func (g *gpu) validate() error {
	var errs []error
	if !slices.Contains([]string{"fp32", "fp16", "int8"}, g.precision) {
		errs = append(errs, fmt.Errorf("precision: expected one of fp32, fp16, int8, got %q", g.precision))
	}
	if g.device < 0 || g.optBatch < 0 || g.level < 0 || g.level > 5 {
		errs = append(errs, fmt.Errorf("device, trt-opt-batch, trt-level: expected at least 0, at least 0 and 0 to 5, got %d, %d and %d", g.device, g.optBatch, g.level))
	}
	if g.int8Table != "" && g.precision != "int8" {
		errs = append(errs, errors.New("trt-int8-table: expected --precision int8 with it"))
	}
	return errors.Join(errs...)
}

// args are the settings as flags.
func (g *gpu) args() []string {
	args := []string{
		"--device", strconv.Itoa(g.device), "--precision", g.precision, "--trt-level", strconv.Itoa(g.level),
		"--trt-workspace", strconv.FormatInt(int64(g.workspace), 10), "--trt-opt-batch", strconv.Itoa(g.optBatch),
	}
	if g.int8Table != "" {
		args = append(args, "--trt-int8-table", g.int8Table)
	}
	return args
}
