package sandbox

import (
	"encoding/binary"
	"testing"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// judge runs the filter on a system call, as the kernel does.
func judge(t *testing.T, vm *bpf.VM, call, abi uint32, args ...uint64) seccomp.Action {
	t.Helper()
	// The kernel's words are its own; those of the machine here are big endian.
	data := binary.BigEndian.AppendUint32(nil, call)
	data = binary.BigEndian.AppendUint32(data, abi)
	data = append(data, make([]byte, 8)...) // instruction pointer
	for i := range 6 {
		arg := uint64(0)
		if i < len(args) {
			arg = args[i]
		}
		data = binary.BigEndian.AppendUint32(data, uint32(arg))
		data = binary.BigEndian.AppendUint32(data, uint32(arg>>32))
	}
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return seccomp.Action(n)
}

// TestTheFilterJudges has what cannot be tried by a call: other ABIs of the same kernel,
// by which the numbers of this one would mean something else.
func TestTheFilterJudges(t *testing.T) {
	const (
		native, i386, arm, x32 = 0xc000003e, 0x40000003, 0x40000028, 0x40000000
		read, mmap, execve     = 0, 9, 59
	)
	p := policy(arch.X86_64.SyscallNames)
	program, err := p.Assemble()
	if err != nil {
		t.Fatal(err)
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	denied := func(a seccomp.Action) bool { return a&0xffff0000 == seccomp.ActionErrno }
	for name, ok := range map[string]bool{
		"read":                judge(t, vm, read, native) == seccomp.ActionAllow,
		"execve":              judge(t, vm, execve, native) == seccomp.ActionKillProcess,
		"what is not named":   denied(judge(t, vm, 9999, native)),
		"read of i386":        denied(judge(t, vm, 3, i386)),
		"number 0 of i386":    denied(judge(t, vm, read, i386)),
		"execve of i386":      denied(judge(t, vm, 11, i386)),
		"number 0 of ARM":     denied(judge(t, vm, read, arm)),
		"read of x32":         denied(judge(t, vm, x32|read, native)),
		"execve of x32":       denied(judge(t, vm, x32|520, native)),
		"private memory":      judge(t, vm, mmap, native, 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS) == seccomp.ActionAllow,
		"a shared file":       judge(t, vm, mmap, native, 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, 5) == seccomp.ActionAllow,
		"shared memory":       denied(judge(t, vm, mmap, native, 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)),
		"code":                denied(judge(t, vm, mmap, native, 0, 1, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)),
		"code, and high bits": denied(judge(t, vm, mmap, native, 0, 1, 1<<40|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)),
		"a process by clone":  denied(judge(t, vm, 56, native, uint64(unix.SIGCHLD))),
	} {
		if !ok {
			t.Errorf("%s is judged otherwise", name)
		}
	}
}
