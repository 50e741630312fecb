// Runs single-instruction cases of system code in a KVM guest: any privilege level, mode, descriptor tables and page tables that the case
// brings along, and reports the whole processor state afterwards. A case ends at HLT (all code pages are filled with it, exception
// handlers are nothing else) or at a hardware breakpoint of the host's (for results in user mode, where HLT would fault).
//
// stdin: struct header, the guest's memory, then cases; stdout: results. Layouts: see ../system/kvm-stream.ts.
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define MAGIC 0x4f435832u
#define MAX_MSRS 32

struct header {
  uint32_t magic, memory_size;
};
struct case_header {
  uint32_t size, id, patches, msrs;
  uint64_t breakpoints[4]; // 0: none
  struct kvm_regs regs;
  struct kvm_sregs sregs;
  uint64_t dr[6]; // DR0-DR3, DR6, DR7
  struct kvm_msr_entry msr[MAX_MSRS];
};
struct patch {
  uint32_t address, length; // physical; bytes follow, padded to 8
};
struct result_header {
  uint32_t size, id;
  uint32_t exit; // KVM_EXIT_*, or ~0 where it did not end in time
  uint32_t changes;
  struct kvm_regs regs;
  struct kvm_sregs sregs;
  uint64_t dr[6];
  struct kvm_msr_entry msr[MAX_MSRS];
};

static void die(const char *why) {
  fprintf(stderr, "%s: %s\n", why, strerror(errno));
  exit(2);
}

static void on_alarm(int signal) { (void)signal; }

static uint8_t *read_all(size_t *used) {
  size_t size = 1 << 24;
  uint8_t *bytes = malloc(size);
  for (*used = 0;;) {
    if (*used == size) bytes = realloc(bytes, size *= 2);
    if (!bytes) die("no memory");
    ssize_t n = read(0, bytes + *used, size - *used);
    if (n < 0) die("cannot read the cases");
    if (n == 0) return bytes;
    *used += (size_t)n;
  }
}

static void set_cpuid(int kvm, int vcpu) {
  struct {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entries[128];
  } cpuid;
  cpuid.head.nent = 128;
  if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) || ioctl(vcpu, KVM_SET_CPUID2, &cpuid)) die("CPUID");
}

static void apply(uint8_t *memory, uint32_t memory_size, const struct case_header *c) {
  const uint8_t *at = (const uint8_t *)(c + 1);
  for (uint32_t i = 0; i < c->patches; i++) {
    const struct patch *p = (const struct patch *)at;
    if (p->address > memory_size || p->length > memory_size - p->address) die("a patch is outside of memory");
    memcpy(memory + p->address, p + 1, p->length);
    at += sizeof *p + ((p->length + 7u) & ~7u);
  }
}

static void run(int vcpu, struct kvm_run *state, const struct case_header *c, struct result_header *r) {
  struct kvm_vcpu_events events;
  memset(&events, 0, sizeof events);
  events.flags = KVM_VCPUEVENT_VALID_SHADOW;
  struct kvm_debugregs debug;
  memset(&debug, 0, sizeof debug);
  memcpy(debug.db, c->dr, sizeof debug.db);
  debug.dr6 = c->dr[4];
  debug.dr7 = c->dr[5];
  struct kvm_guest_debug guest_debug;
  memset(&guest_debug, 0, sizeof guest_debug);
  guest_debug.arch.debugreg[7] = 0x400;
  for (int i = 0; i < 4; i++) {
    if (!c->breakpoints[i]) continue;
    guest_debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
    guest_debug.arch.debugreg[i] = c->breakpoints[i];
    guest_debug.arch.debugreg[7] |= 2u << (i * 2);
  }
  struct {
    struct kvm_msrs head;
    struct kvm_msr_entry entries[MAX_MSRS];
  } msrs;
  memset(&msrs, 0, sizeof msrs);
  msrs.head.nmsrs = c->msrs;
  memcpy(msrs.entries, c->msr, sizeof msrs.entries);
  if (ioctl(vcpu, KVM_SET_VCPU_EVENTS, &events)) die("KVM_SET_VCPU_EVENTS");
  if (ioctl(vcpu, KVM_SET_SREGS, &c->sregs)) {
    fprintf(stderr, "case %u: ", c->id);
    die("KVM_SET_SREGS");
  }
  if (ioctl(vcpu, KVM_SET_REGS, &c->regs)) die("KVM_SET_REGS");
  if (ioctl(vcpu, KVM_SET_MSRS, &msrs) != (int)c->msrs) die("KVM_SET_MSRS");
  if (ioctl(vcpu, KVM_SET_DEBUGREGS, &debug)) die("KVM_SET_DEBUGREGS");
  if (ioctl(vcpu, KVM_SET_GUEST_DEBUG, &guest_debug)) die("KVM_SET_GUEST_DEBUG");
  state->cr8 = c->sregs.cr8; // without an interrupt controller in the kernel this is where it is kept
  struct itimerval soon = {{0, 50000}, {0, 50000}}, never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &soon, 0);
  int failed = ioctl(vcpu, KVM_RUN, 0);
  setitimer(ITIMER_REAL, &never, 0);
  r->exit = failed ? ~0u : state->exit_reason;
  if (failed && errno != EINTR) die("KVM_RUN");
  if (ioctl(vcpu, KVM_GET_REGS, &r->regs) || ioctl(vcpu, KVM_GET_SREGS, &r->sregs)) die("KVM_GET_REGS");
  if (ioctl(vcpu, KVM_GET_DEBUGREGS, &debug)) die("KVM_GET_DEBUGREGS");
  memcpy(r->dr, debug.db, sizeof debug.db);
  r->dr[4] = debug.dr6;
  r->dr[5] = debug.dr7;
  if (ioctl(vcpu, KVM_GET_MSRS, &msrs) != (int)c->msrs) die("KVM_GET_MSRS");
  memcpy(r->msr, msrs.entries, sizeof r->msr);
}

int main(void) {
  size_t used;
  uint8_t *input = read_all(&used), *end = input + used;
  const struct header *h = (const struct header *)input;
  if (used < sizeof *h || h->magic != MAGIC || h->memory_size % 4096 || used < sizeof *h + h->memory_size) die("not a stream of cases");
  uint32_t memory_size = h->memory_size;
  uint8_t *pristine = input + sizeof *h;
  uint8_t *expected = malloc(memory_size);
  uint8_t *memory = mmap(0, memory_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  uint8_t *output = malloc(sizeof(struct result_header) + 8u * memory_size);
  if (memory == MAP_FAILED || !expected || !output) die("no memory");
  int kvm = open("/dev/kvm", O_RDWR);
  if (kvm < 0) die("/dev/kvm");
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  struct kvm_userspace_memory_region region = {.memory_size = memory_size, .userspace_addr = (uint64_t)memory};
  if (vm < 0 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region)) die("KVM_CREATE_VM");
  int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
  int run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  struct kvm_run *state = mmap(0, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  if (vcpu < 0 || state == MAP_FAILED) die("KVM_CREATE_VCPU");
  set_cpuid(kvm, vcpu);
  struct sigaction alarm = {.sa_handler = on_alarm};
  sigaction(SIGALRM, &alarm, 0);

  for (uint8_t *at = pristine + memory_size; at + sizeof(struct case_header) <= end;) {
    const struct case_header *c = (const struct case_header *)at;
    memcpy(memory, pristine, memory_size);
    apply(memory, memory_size, c);
    memcpy(expected, memory, memory_size);
    struct result_header *r = (struct result_header *)output;
    memset(r, 0, sizeof *r);
    run(vcpu, state, c, r);
    uint8_t *o = (uint8_t *)(r + 1);
    for (uint32_t i = 0; i < memory_size; i += 64) {
      if (!memcmp(memory + i, expected + i, 64)) continue;
      for (uint32_t k = i; k < i + 64; k++) {
        if (memory[k] == expected[k]) continue;
        memcpy(o, &k, 4); // {u32 address, u8 value, 3 of padding}
        memset(o + 4, 0, 4);
        o[4] = memory[k];
        o += 8;
        r->changes++;
      }
    }
    r->id = c->id;
    r->size = (uint32_t)(o - output);
    if (fwrite(output, 1, r->size, stdout) != r->size) die("cannot write a result");
    at += c->size;
  }
  return fflush(stdout) ? 2 : 0;
}
