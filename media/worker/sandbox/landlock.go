package sandbox

import (
	"errors"
	"strconv"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// restrict allows no file, no TCP port, no signal and no abstract socket, as far as
// the kernel's Landlock knows of them. It names the layer with Landlock's version.
func restrict() (layer string, err error) {
	abi, err := ll.LandlockGetABIVersion()
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPERM):
		return "landlock", &lackingError{"the kernel does not have it, or not for us (" + err.Error() + ")"}
	case err != nil:
		return "landlock", err
	}
	return "landlock-" + strconv.Itoa(abi), landlock.V11.BestEffort().Restrict()
}
