/*
 * Runs single x87 and SSE instructions on the processor at hand and prints what they left behind.
 * Reads cases from standard input, one a line, and writes each back with " = " and the results (see README.md).
 *
 *   x <code> <fcw> <fsw> <tags> <a> <b> <mem>   = <fcw> <fsw> <tags> <st-1> <st0> <st1> <mem> <eflags>
 *   s <code> <mxcsr> <xmm0> <xmm1> <rax>        = <mxcsr> <trap> <xmm0> <rax> <eflags>
 *
 * x: a and b go to st0 and st1 (of the TOP in fsw), tags is the full 16-bit tag word; code may use [rdi] as mem.
 * s: trap is 1 if the instruction raised #XM.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ucontext.h>

static uint8_t *code;
static size_t code_length;
static volatile int trapped;
static volatile uint32_t trapped_mxcsr;

static void on_fpe(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	(void)sig;
	(void)info;
	trapped = 1;
	trapped_mxcsr = uc->uc_mcontext.fpregs->mxcsr;
	uc->uc_mcontext.fpregs->mxcsr = 0x1f80;
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(code + code_length);
}

static int unhex(const char *text, uint8_t *out)
{
	int n = 0;
	unsigned byte;
	while (text[0] && text[1] && sscanf(text, "%2x", &byte) == 1) {
		out[n++] = byte;
		text += 2;
	}
	return n;
}

/* Numbers are written with the highest byte first, memory images with the lowest. */
static void unhex_number(const char *text, uint8_t *out, int size)
{
	uint8_t bytes[32] = { 0 };
	int n = unhex(text, bytes);
	memset(out, 0, size);
	for (int i = 0; i < n && i < size; i++)
		out[i] = bytes[n - 1 - i];
}

static void print_number(const uint8_t *p, int size)
{
	putchar(' ');
	while (size--)
		printf("%02x", p[size]);
}

static void set_code(const char *text)
{
	code_length = unhex(text, code);
	code[code_length] = 0xc3;
}

struct env {
	uint16_t fcw, r0, fsw, r1, ftw, r2;
	uint32_t fip;
	uint16_t fcs, fop;
	uint32_t fdp;
	uint16_t fds, r3;
	uint8_t st[8][10];
} __attribute__((packed));

static void run_x87(char **f)
{
	/* Static, so that no operand of the assembly is addressed through rsp, which moves. */
	static struct env env;
	static uint8_t mem[512] __attribute__((aligned(64)));
	int n;
	uint64_t flags;

	memset(&env, 0, sizeof(env));
	memset(mem, 0, sizeof(mem));
	set_code(f[1]);
	env.fcw = strtoul(f[2], 0, 16);
	env.fsw = strtoul(f[3], 0, 16);
	env.ftw = strtoul(f[4], 0, 16);
	unhex_number(f[5], env.st[0], 10);
	unhex_number(f[6], env.st[1], 10);
	n = unhex(f[7], mem);
	for (int i = 2; i < 8; i++)
		memset(env.st[i], 0x10 * i, 10);
	__asm__ volatile("sub $128, %%rsp\n\tfrstor %[env]\n\tpushq $0x202\n\tpopfq\n\tcall *%[code]\n\tpushfq\n\tpopq %[flags]\n\t"
			 "fnsave %[env]\n\tadd $128, %%rsp"
			 : [env] "+m"(env), [flags] "=&r"(flags)
			 : [code] "r"(code), "D"(mem)
			 : "rax", "rcx", "rdx", "memory", "cc");
	printf(" = %04x %04x %04x", env.fcw, env.fsw, env.ftw);
	int old_top = (strtoul(f[3], 0, 16) >> 11) & 7, top = (env.fsw >> 11) & 7;
	for (int i = -1; i < 2; i++)
		print_number(env.st[(old_top + i - top) & 7], 10);
	putchar(' ');
	if (!n)
		putchar('-');
	for (int i = 0; i < n; i++)
		printf("%02x", mem[i]);
	printf(" %02x", (unsigned)flags & 0x45);
}

static void run_sse(char **f)
{
	static uint8_t x0[16] __attribute__((aligned(16))), x1[16] __attribute__((aligned(16)));
	static uint32_t mxcsr, safe = 0x1f80;
	uint64_t rax, flags;

	mxcsr = strtoul(f[2], 0, 16);
	set_code(f[1]);
	unhex_number(f[3], x0, 16);
	unhex_number(f[4], x1, 16);
	rax = strtoull(f[5], 0, 16);
	trapped = 0;
	__asm__ volatile("sub $128, %%rsp\n\tmovaps %[x0], %%xmm0\n\tmovaps %[x1], %%xmm1\n\tldmxcsr %[mxcsr]\n\t"
			 "pushq $0x202\n\tpopfq\n\tcall *%[code]\n\tpushfq\n\tpopq %[flags]\n\tstmxcsr %[mxcsr]\n\tldmxcsr %[safe]\n\t"
			 "movaps %%xmm0, %[x0]\n\tadd $128, %%rsp"
			 : [x0] "+m"(x0), [mxcsr] "+m"(mxcsr), "+a"(rax), [flags] "=&r"(flags)
			 : [x1] "m"(x1), [code] "r"(code), [safe] "m"(safe)
			 : "xmm0", "xmm1", "xmm2", "rcx", "rdx", "memory", "cc");
	if (trapped)
		mxcsr = trapped_mxcsr;
	printf(" = %04x %d", mxcsr, trapped);
	print_number(x0, 16);
	printf(" %016lx %02x", rax, (unsigned)flags & 0x45);
}

int main(void)
{
	static char line[4096], copy[4096];
	struct sigaction action = { .sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO };

	sigaction(SIGFPE, &action, 0);
	code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	while (fgets(line, sizeof(line), stdin)) {
		char *field[16] = { 0 };
		int n = 0;
		line[strcspn(line, "\n")] = 0;
		strcpy(copy, line);
		for (char *p = strtok(copy, " "); p && n < 16; p = strtok(0, " "))
			field[n++] = p;
		fputs(line, stdout);
		if (field[0][0] == 'x')
			run_x87(field);
		else
			run_sse(field);
		putchar('\n');
	}
	return 0;
}
