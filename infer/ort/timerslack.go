//go:build cgo

package ort

/*
#include <sys/prctl.h>

// Go's runtime has a thread that looks after the others. For about 50 turns after
// every idle moment it sleeps 20 µs and looks again, and each turn preempts a thread
// that infers or decodes: 2,500 times a second, a tenth of the processors' time. A
// timer slack lets the kernel fulfil such short sleeps late. Threads inherit it
// from the first one, so it must be set before the runtime starts.
__attribute__((constructor)) static void set_timer_slack(void)
{
	const long ours = 4000000; // ns
	if (prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) < ours) // a decoder process was given more
		prctl(PR_SET_TIMERSLACK, ours, 0, 0, 0);
}
*/
import "C"
