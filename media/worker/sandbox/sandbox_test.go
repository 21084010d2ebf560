package sandbox

import (
	"slices"
	"testing"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
)

// What the sandbox does to a process is tested where there is one: media/worker.

func TestThePolicyNamesSystemCallsThatThereAre(t *testing.T) {
	for _, name := range slices.Concat(needed, fatal) {
		if _, ok := arch.X86_64.SyscallNames[name]; !ok {
			t.Errorf("there is no %s", name)
		}
	}
	for _, a := range []*arch.Info{arch.X86_64, arch.AARCH64} {
		p := policy(a.SyscallNames)
		for _, group := range p.Syscalls {
			for _, name := range group.Names {
				if _, ok := a.SyscallNames[name]; !ok {
					t.Errorf("%s has no %s", a.Name, name)
				}
			}
			if group.Action == seccomp.ActionAllow && slices.ContainsFunc(group.Names, func(n string) bool { return slices.Contains(fatal, n) }) {
				t.Errorf("%v is allowed", group.Names)
			}
		}
	}
	if p := policy(arch.X86_64.SyscallNames); p.Validate() != nil || p.DefaultAction != seccomp.ActionErrno {
		t.Errorf("policy %+v", p)
	}
}
