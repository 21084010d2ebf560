package sandbox

import (
	"os"
	"slices"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// needed are the system calls of Go's runtime, of glibc's memory and threads, and of
// a program that works on what is open. Names that a processor does not have are
// left out.
var needed = []string{
	// Memory, without mmap and mprotect.
	"brk", "madvise", "mremap", "munmap",
	// Threads, without clone.
	"exit", "exit_group", "futex", "gettid", "getpid", "membarrier", "restart_syscall", "rseq", "sched_getaffinity",
	"sched_yield", "set_robust_list",
	// Signals.
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
	// Time and chance.
	"clock_getres", "clock_gettime", "clock_nanosleep", "getrandom", "getrusage", "gettimeofday", "nanosleep", "time",
	// What is open.
	"close", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "fstat", "lseek", "poll",
	"ppoll", "pread64", "read", "readv", "recvmsg", "sendmsg", "write", "writev",
}

// fatal are the system calls that nobody makes by mistake: the process ends at once,
// and its parent learns of it. All others fail with EPERM, because libraries try things.
var fatal = []string{
	// Other programs.
	"execve", "execveat", "fork", "vfork", "kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open",
	"pidfd_getfd", "pidfd_send_signal", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp",
	// The network.
	"socket", "socketpair", "connect", "bind", "listen", "accept", "accept4",
	// The machine.
	"mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig", "unshare",
	"setns", "bpf", "perf_event_open", "userfaultfd", "init_module", "finit_module", "delete_module", "kexec_load",
	"kexec_file_load", "keyctl", "add_key", "request_key", "reboot", "swapon", "swapoff", "quotactl", "acct", "iopl",
	"ioperm", "modify_ldt", "personality", "name_to_handle_at", "open_by_handle_at", "setuid", "setgid", "setreuid",
	"setregid", "setresuid", "setresgid", "setgroups", "capset",
	// What would go past this filter, or has often been a way into the kernel.
	"io_uring_setup", "io_uring_enter", "io_uring_register", "memfd_secret", "seccomp", "vmsplice", "add_key",
}

// policy is the filter.
func policy(known map[string]int) seccomp.Policy {
	is := func(names []string) []string {
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { _, ok := known[n]; return !ok })
		slices.Sort(names)
		return slices.Compact(names)
	}
	arg := func(n uint32, op seccomp.Operation, v uint64) seccomp.Condition {
		return seccomp.Condition{Argument: n, Operation: op, Value: v}
	}
	when := func(name string, c ...seccomp.Condition) seccomp.NameWithConditions {
		return seccomp.NameWithConditions{Name: name, Conditions: c}
	}
	const spaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	return seccomp.Policy{
		DefaultAction: seccomp.ActionErrno,
		Syscalls: []seccomp.SyscallGroup{
			{Action: seccomp.ActionAllow, Names: is(needed), NamesWithCondtions: []seccomp.NameWithConditions{
				// No memory can become code, and none is shared that is no file: RLIMIT_DATA
				// does not count that.
				when("mmap", arg(2, seccomp.BitsNotSet, unix.PROT_EXEC), arg(3, seccomp.BitsNotSet, unix.MAP_SHARED)),
				when("mmap", arg(2, seccomp.BitsNotSet, unix.PROT_EXEC), arg(3, seccomp.BitsNotSet, unix.MAP_ANONYMOUS)),
				when("mprotect", arg(2, seccomp.BitsNotSet, unix.PROT_EXEC)),
				// A thread, not a process.
				when("clone", arg(0, seccomp.BitsSet, unix.CLONE_THREAD), arg(0, seccomp.BitsNotSet, spaces)),
				// Signals to itself.
				when("tgkill", arg(0, seccomp.Equal, uint64(os.Getpid()))),
				when("fcntl", arg(1, seccomp.LessOrEqual, unix.F_SETFL), arg(1, seccomp.GreaterOrEqual, unix.F_GETFD)),
				// Its own limits: to look at any, to renew that of its processor time.
				when("prlimit64", arg(0, seccomp.Equal, 0), arg(2, seccomp.Equal, 0)),
				when("prlimit64", arg(0, seccomp.Equal, 0), arg(1, seccomp.Equal, unix.RLIMIT_CPU)),
			}},
			// glibc then starts threads by clone, whose flags can be looked at.
			{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: is([]string{"clone3"})},
			{Action: seccomp.ActionKillProcess, Names: is(fatal)},
		},
	}
}

// filter installs the filter in all threads.
func filter() error {
	if !seccomp.Supported() {
		return &lackingError{"the kernel does not have it"}
	}
	info, err := arch.GetInfo("")
	if err != nil {
		return &lackingError{err.Error()}
	}
	return seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: policy(info.SyscallNames)})
}
