/* Preloaded into User-Mode Linux. Linux 6.1 as a process has room for 2696 bytes of a processor's extended state. One with
 * AMX has more, of which ptrace sets all or nothing: what is set here is laid over the state that is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

long ptrace(enum __ptrace_request request, ...)
{
	static long (*original)(enum __ptrace_request, ...);
	static char whole[1 << 16] __attribute__((aligned(64)));
	struct iovec all = { whole, sizeof whole }, *given;
	va_list arguments;
	void *address;
	int pid;

	va_start(arguments, request);
	pid = va_arg(arguments, int);
	address = va_arg(arguments, void *);
	given = va_arg(arguments, void *);
	va_end(arguments);
	if (!original)
		original = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
	if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE) {
		if (original(PTRACE_GETREGSET, pid, address, &all) < 0)
			return -1;
		if (given->iov_len < all.iov_len) {
			memcpy(whole, given->iov_base, given->iov_len);
			given = &all;
		}
	}
	return original(request, pid, address, given);
}
