// Runs single-instruction cases on the processor that this program runs on, in user mode, and reports what each did.
//
// One signal handler does everything: it ends the case that trapped (its registers are the signal frame's), writes a result, puts the
// next case's registers into the same frame and returns into it. The kernel's sigreturn loads CS, SS, flags, general registers and the
// XSAVE image; DS, ES, FS, GS and the FS/GS bases are loaded here, right before returning. Behind each case's instruction stands INT3.
//
// stdin: a header (struct header, regions, LDT entries, backing bytes), then cases; stdout: results. Layouts: see ../stream.ts.
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define MAGIC 0x4f435831u
#define PAGE 4096u
#define MAX_REGIONS 32

struct header {
  uint32_t magic, regions, ldt_entries, backing_size;
};
struct region {
  uint64_t address;
  uint32_t size, offset; // offset into the backing
  uint32_t writable, executable;
};
struct case_header {
  uint32_t size; // of the whole case with its patches
  uint32_t id;
  uint16_t cs, ss, ds, es, fs, gs;
  uint16_t set_bases; // 1: load the FS and GS bases below after the selectors
  uint16_t patches;
  uint64_t rip, rflags, fs_base, gs_base;
  uint64_t gpr[16]; // rax rcx rdx rbx rsp rbp rsi rdi r8..r15
  uint8_t fxsave[464];
};
struct patch {
  uint32_t offset, length; // into the backing; bytes follow, padded to 8
};
struct result_header {
  uint32_t size, id;
  uint32_t status; // 0: a signal ended it, 1: it did not end in time
  uint32_t vector, error, changes;
  uint64_t cr2, rip, rflags, fs_base, gs_base;
  uint16_t cs, ss, ds, es, fs, gs, pad[2];
  uint64_t gpr[16];
  uint8_t fxsave[464];
};

static struct region regions[MAX_REGIONS];
static uint32_t region_count, backing_size;
static uint8_t *pristine, *backing; // backing is the writable alias of all regions' memory
static uint8_t *input, *input_end, *output;
static size_t output_used, output_size;
static struct case_header *current;
static volatile uint32_t ticks;
static uint64_t own_fs_base;
static gregset_t own_registers;

static const int register_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static inline uint64_t read_fs_base(void) { uint64_t v; __asm__ volatile("rdfsbase %0" : "=r"(v)); return v; }
static inline uint64_t read_gs_base(void) { uint64_t v; __asm__ volatile("rdgsbase %0" : "=r"(v)); return v; }
static inline void write_fs_base(uint64_t v) { __asm__ volatile("wrfsbase %0" ::"r"(v)); }
static inline void write_gs_base(uint64_t v) { __asm__ volatile("wrgsbase %0" ::"r"(v)); }
#define READ_SELECTOR(name) ({ uint16_t s; __asm__ volatile("mov %%" #name ",%0" : "=r"(s)); s; })
#define WRITE_SELECTOR(name, value) __asm__ volatile("mov %0,%%" #name ::"r"((uint32_t)(value)))

static void die(const char *why) {
  (void)!write(2, why, strlen(why));
  (void)!write(2, "\n", 1);
  _exit(2);
}

static void flush_output(void) {
  size_t done = 0;
  while (done < output_used) {
    ssize_t n = write(1, output + done, output_used - done);
    if (n <= 0) die("cannot write the results");
    done += (size_t)n;
  }
  output_used = 0;
}

static void apply_patches(const struct case_header *c) {
  const uint8_t *at = (const uint8_t *)(c + 1);
  for (uint32_t i = 0; i < c->patches; i++) {
    const struct patch *p = (const struct patch *)at;
    memcpy(backing + p->offset, p + 1, p->length);
    at += sizeof *p + ((p->length + 7u) & ~7u);
  }
}

// What the instruction wrote: backing against pristine bytes with the case's patches; restores both while going.
static uint32_t collect_changes(const struct case_header *c) {
  static uint8_t expected[1 << 20];
  uint32_t changes = 0;
  for (uint32_t r = 0; r < region_count; r++) {
    if (!regions[r].writable) continue;
    uint32_t from = regions[r].offset, size = regions[r].size;
    memcpy(expected + from, pristine + from, size);
  }
  const uint8_t *at = (const uint8_t *)(c + 1);
  for (uint32_t i = 0; i < c->patches; i++) {
    const struct patch *p = (const struct patch *)at;
    memcpy(expected + p->offset, p + 1, p->length);
    at += sizeof *p + ((p->length + 7u) & ~7u);
  }
  for (uint32_t r = 0; r < region_count; r++) {
    if (!regions[r].writable) continue;
    uint32_t from = regions[r].offset, end = from + regions[r].size;
    int seen = 0;
    for (uint32_t q = 0; q < r; q++) seen |= regions[q].writable && regions[q].offset == from;
    if (seen) continue;
    for (uint32_t i = from; i < end; i += 64) {
      if (!memcmp(expected + i, backing + i, 64)) continue;
      for (uint32_t k = i; k < i + 64; k++) {
        if (expected[k] == backing[k]) continue;
        uint8_t *o = output + output_used; // {u32 offset, u8 value, 3 of padding}
        memcpy(o, &k, 4);
        o[4] = backing[k];
        o[5] = o[6] = o[7] = 0;
        output_used += 8;
        changes++;
      }
    }
    memcpy(backing + from, pristine + from, regions[r].size);
  }
  at = (const uint8_t *)(c + 1);
  for (uint32_t i = 0; i < c->patches; i++) {
    const struct patch *p = (const struct patch *)at;
    memcpy(backing + p->offset, pristine + p->offset, p->length);
    at += sizeof *p + ((p->length + 7u) & ~7u);
  }
  return changes;
}

static void end_case(const ucontext_t *uc, uint32_t status) {
  const greg_t *g = uc->uc_mcontext.gregs;
  if (output_used + sizeof(struct result_header) + 8u * backing_size > output_size) flush_output();
  struct result_header *r = (struct result_header *)(output + output_used);
  uint64_t selectors = (uint64_t)g[REG_CSGSFS];
  r->id = current->id;
  r->status = status;
  r->vector = (uint32_t)g[REG_TRAPNO];
  r->error = (uint32_t)g[REG_ERR];
  r->cr2 = (uint64_t)g[REG_CR2];
  r->rip = (uint64_t)g[REG_RIP];
  r->rflags = (uint64_t)g[REG_EFL];
  r->fs_base = read_fs_base(); // still the case's: nothing here uses thread-local storage
  r->gs_base = read_gs_base();
  r->cs = (uint16_t)selectors;
  r->ss = (uint16_t)(selectors >> 48);
  r->ds = READ_SELECTOR(ds);
  r->es = READ_SELECTOR(es);
  r->fs = READ_SELECTOR(fs);
  r->gs = READ_SELECTOR(gs);
  r->pad[0] = r->pad[1] = 0;
  for (int i = 0; i < 16; i++) r->gpr[i] = (uint64_t)g[register_of[i]];
  memcpy(r->fxsave, uc->uc_mcontext.fpregs, sizeof r->fxsave);
  output_used += sizeof *r;
  r->changes = collect_changes(current);
  r->size = (uint32_t)(output + output_used - (uint8_t *)r);
}

static int begin_case(ucontext_t *uc) {
  if (input + sizeof(struct case_header) > input_end) return 0;
  current = (struct case_header *)input;
  if (current->size < sizeof *current || input + current->size > input_end) die("a case is cut short");
  input += current->size;
  apply_patches(current);
  greg_t *g = uc->uc_mcontext.gregs;
  for (int i = 0; i < 16; i++) g[register_of[i]] = (greg_t)current->gpr[i];
  g[REG_RIP] = (greg_t)current->rip;
  g[REG_EFL] = (greg_t)(current->rflags | 0x200);
  g[REG_CSGSFS] = (greg_t)((uint64_t)current->cs | (uint64_t)current->ss << 48);
  uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
  memcpy(fp, current->fxsave, sizeof current->fxsave);
  uint64_t xstate_bv = 3; // x87 and SSE from the image, everything beyond in its initial state
  memcpy(fp + 512, &xstate_bv, 8);
  ticks = 0;
  WRITE_SELECTOR(ds, current->ds);
  WRITE_SELECTOR(es, current->es);
  WRITE_SELECTOR(fs, current->fs);
  WRITE_SELECTOR(gs, current->gs);
  if (current->set_bases) {
    write_fs_base(current->fs_base);
    write_gs_base(current->gs_base);
  }
  return 1;
}

static void on_signal(int signal, siginfo_t *info, void *context) {
  (void)info;
  ucontext_t *uc = context;
  __asm__ volatile("pushq $0x202; popfq" ::: "cc", "memory"); // NT, AC and ID would otherwise stay set for all later cases
  if (signal == SIGALRM) {
    if (!current || ++ticks < 4) return;
    end_case(uc, 1);
  } else if (current) {
    end_case(uc, 0);
  } else {
    memcpy(own_registers, uc->uc_mcontext.gregs, sizeof own_registers);
  }
  if (begin_case(uc)) return;
  current = 0;
  memcpy(uc->uc_mcontext.gregs, own_registers, sizeof own_registers);
  uc->uc_mcontext.gregs[REG_RIP] = own_registers[REG_RIP];
  WRITE_SELECTOR(ds, 0);
  WRITE_SELECTOR(es, 0);
  WRITE_SELECTOR(fs, 0);
  WRITE_SELECTOR(gs, 0);
  write_fs_base(own_fs_base);
}

static void read_input(void) {
  size_t size = 1 << 24, used = 0;
  input = malloc(size);
  for (;;) {
    if (used == size) input = realloc(input, size *= 2);
    if (!input) die("no memory for the cases");
    ssize_t n = read(0, input + used, size - used);
    if (n < 0) die("cannot read the cases");
    if (n == 0) break;
    used += (size_t)n;
  }
  input_end = input + used;
}

static void map_regions(void) {
  struct header *h = (struct header *)input;
  if (input + sizeof *h > input_end || h->magic != MAGIC || h->regions > MAX_REGIONS) die("not a stream of cases");
  region_count = h->regions;
  backing_size = h->backing_size;
  if (backing_size > 1 << 20) die("too much backing memory");
  input += sizeof *h;
  memcpy(regions, input, region_count * sizeof regions[0]);
  input += region_count * sizeof regions[0];
  for (uint32_t i = 0; i < h->ldt_entries; i++, input += sizeof(struct user_desc))
    if (syscall(SYS_modify_ldt, 0x11, input, sizeof(struct user_desc))) die("cannot write an LDT entry");
  int fd = memfd_create("cases", 0);
  if (fd < 0 || ftruncate(fd, backing_size)) die("no memory for the regions");
  backing = mmap(0, backing_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  pristine = malloc(backing_size);
  if (backing == MAP_FAILED || !pristine) die("no memory for the regions");
  memcpy(pristine, input, backing_size);
  memcpy(backing, input, backing_size);
  input += backing_size;
  for (uint32_t r = 0; r < region_count; r++) {
    int protection = PROT_READ | (regions[r].writable ? PROT_WRITE : 0) | (regions[r].executable ? PROT_EXEC : 0);
    void *want = (void *)regions[r].address;
    if (mmap(want, regions[r].size, protection, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd, regions[r].offset) != want)
      die("a region's address is taken");
  }
}

int main(void) {
  read_input();
  map_regions();
  output_size = (32u << 20) + 8u * backing_size;
  output = malloc(output_size);
  size_t stack_size = 1 << 18;
  stack_t stack = {.ss_sp = mmap(0, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), .ss_size = stack_size};
  if (!output || stack.ss_sp == MAP_FAILED || sigaltstack(&stack, 0)) die("no memory");
  memset(output, 0, output_size);
  own_fs_base = read_fs_base();
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigfillset(&action.sa_mask);
  const int caught[] = {SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS, SIGALRM};
  for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) sigaction(caught[i], &action, 0);
  struct itimerval every = {{0, 5000}, {0, 5000}};
  setitimer(ITIMER_REAL, &every, 0);
  __asm__ volatile("int3" ::: "memory");
  struct itimerval never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &never, 0);
  flush_output();
  return 0;
}
