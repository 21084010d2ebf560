// Command manifests checks files of the deployment without running them: Kubernetes manifests
// are decoded strictly into the API's own types, and compose files loaded as compose does,
// with every profile. It fails at whatever these do not know.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
)

func main() {
	for _, file := range os.Args[1:] {
		check := manifests
		if strings.HasSuffix(file, "compose.yaml") {
			check = compose
		}
		if err := check(file); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			os.Exit(1)
		}
	}
}

func compose(file string) error {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithProfiles([]string{"*"}), cli.WithInterpolation(true))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	for _, name := range project.ServiceNames() {
		fmt.Printf("%s: service %s ok\n", file, name)
	}
	return nil
}

func manifests(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	types := runtime.NewScheme()
	if err := errors.Join(apps.AddToScheme(types), core.AddToScheme(types), networking.AddToScheme(types), policy.AddToScheme(types)); err != nil {
		return err
	}
	strict := serializer.NewCodecFactory(types, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for n := 1; ; n++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) && n > 1 {
			return nil
		}
		if err != nil {
			return err
		}
		_, kind, err := strict.Decode(document, nil, nil)
		if err != nil {
			return fmt.Errorf("document %d: %w", n, err)
		}
		fmt.Printf("%s: %s ok\n", file, kind)
	}
}
