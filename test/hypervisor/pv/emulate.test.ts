import { describe, expect, it } from 'vitest';
import { R, S, SEG } from '../../../src/cpu/layout.ts';
import { VmAssist } from '../../../src/hypervisor/domain.ts';
import { CODE, HANDLER, KERNEL_STACK, PvGuest } from './pv-guest.ts';

const GP = 13;
const IF = 0x200n;
const DATA = CODE + 0x1000n;

/** Raises #GP(0) on an instruction. True: it was emulated. False: the guest got its fault at the instruction. */
function emulated(g: PvGuest, ...bytes: number[]): boolean {
  if (g.pv.traps[GP].address === 0n) g.handler(GP);
  g.cpu.rip = CODE;
  g.code(...bytes);
  g.exception(GP, 0);
  if (g.cpu.rip === CODE + BigInt(bytes.length)) return true;
  expect(g.cpu.rip).toBe(HANDLER);
  expect(g.frame(4).slice(2)).toEqual([0n, CODE]);
  // Back where it was, so that a test can go on.
  g.cpu.gpr[R.rsp] = KERNEL_STACK;
  return false;
}

const MOV_FROM_CR = (cr: number, gpr: number): number[] => [0x0f, 0x20, 0xc0 | (cr << 3) | gpr];
const MOV_TO_CR = (cr: number, gpr: number): number[] => [0x0f, 0x22, 0xc0 | (cr << 3) | gpr];

describe('control registers', () => {
  it('CR0 shows TS, and lets nothing but TS be changed', () => {
    const g = new PvGuest();
    expect(emulated(g, ...MOV_FROM_CR(0, R.rbx))).toBe(true);
    expect(g.cpu.gpr[R.rbx]).toBe(0x80050033n);
    g.cpu.gpr[R.rbx] = 0x8005003bn;
    expect(emulated(g, ...MOV_TO_CR(0, R.rbx))).toBe(true);
    expect(g.pv.taskSwitched).toBe(true);
    emulated(g, ...MOV_FROM_CR(0, R.rcx));
    expect(g.cpu.gpr[R.rcx]).toBe(0x8005003bn);
    g.cpu.gpr[R.rbx] = 0x80050033n & ~0x10000n;
    expect(emulated(g, ...MOV_TO_CR(0, R.rbx))).toBe(false);
    expect(emulated(g, 0x0f, 0x06)).toBe(true); // clts
    expect(g.pv.taskSwitched).toBe(false);
  });

  it('CR4 shows 0x660 and the guest’s choices, and drops other bits without a fault', () => {
    const g = new PvGuest();
    emulated(g, ...MOV_FROM_CR(4, R.rax));
    expect(g.cpu.gpr[R.rax]).toBe(0x660n);
    g.cpu.gpr[R.rax] = 0x10660n | 0x1000000n; // FSGSBASE, and a bit that does not exist
    expect(emulated(g, ...MOV_TO_CR(4, R.rax))).toBe(true);
    emulated(g, ...MOV_FROM_CR(4, R.rax));
    expect(g.cpu.gpr[R.rax]).toBe(0x10660n);
    expect(g.cpu.get(S.cr4) & 0x10000n).toBe(0x10000n);
  });

  it('CR2 is the one in vcpu_info; CR3 is the kernel’s table', () => {
    const g = new PvGuest();
    g.vcpu.info.cr2 = 0x1234n;
    emulated(g, ...MOV_FROM_CR(2, R.rdx));
    expect(g.cpu.gpr[R.rdx]).toBe(0x1234n);
    emulated(g, ...MOV_FROM_CR(3, R.rdx));
    expect(g.cpu.gpr[R.rdx]).toBe(BigInt(g.pv.guestTable) << 12n);
  });

  it('CR8 and unknown ones fault; REX.R and REX.B count', () => {
    const g = new PvGuest();
    expect(emulated(g, 0x44, 0x0f, 0x20, 0xc0)).toBe(false); // mov rax, cr8
    expect(emulated(g, ...MOV_FROM_CR(1, R.rax))).toBe(false);
    expect(emulated(g, 0x41, 0x0f, 0x20, 0xc1)).toBe(true); // mov r9, cr0
    expect(g.cpu.gpr[R.r9]).toBe(0x80050033n);
  });

  it('in user mode fault', () => {
    const g = new PvGuest().enterUser();
    expect(emulated(g, ...MOV_FROM_CR(0, R.rax))).toBe(false);
  });
});

describe('instructions that are not emulated', () => {
  for (const [name, bytes] of [
    ['hlt', [0xf4]],
    ['invlpg', [0x0f, 0x01, 0x38]],
    ['lgdt', [0x0f, 0x01, 0x10]],
    ['lidt', [0x0f, 0x01, 0x18]],
    ['lmsw', [0x0f, 0x01, 0xf0]],
    ['swapgs', [0x0f, 0x01, 0xf8]],
    ['invd', [0x0f, 0x08]],
    ['ltr', [0x0f, 0x00, 0xd8]],
    ['rdpmc', [0x0f, 0x33]],
    ['sysretq', [0x48, 0x0f, 0x07]],
  ] as const) {
    it(`${name} is the guest’s #GP(0)`, () => {
      expect(emulated(new PvGuest(), ...bytes)).toBe(false);
    });
  }

  it('wbinvd does nothing; LOCK makes any of them #UD', () => {
    const g = new PvGuest();
    expect(emulated(g, 0x0f, 0x09)).toBe(true);
    g.handler(6, 0, HANDLER + 16n);
    g.code(0xf0, 0x0f, 0x09);
    g.cpu.rip = CODE;
    g.code(0xf0, 0x0f, 0x09);
    g.exception(GP, 0);
    expect(g.cpu.rip).toBe(HANDLER + 16n);
  });

  it('an error code that is not 0 is passed on as it is', () => {
    const g = new PvGuest();
    g.handler(GP);
    g.code(0x0f, 0x06);
    g.exception(GP, 0x28);
    expect(g.frame(4).slice(2)).toEqual([0x28n, CODE]);
  });
});

describe('IOPL', () => {
  // rows: architectural_iopl, iopl, mode; whether CLI and OUT go through (xtf pv-iopl)
  for (const architectural of [false, true]) {
    for (const iopl of [0, 1, 2, 3]) {
      for (const user of [false, true]) {
        const ring = user ? 3 : architectural ? 0 : 1;
        const allowed = iopl >= ring;
        it(`${iopl}, ${user ? 'user' : 'kernel'}${architectural ? ', architectural' : ''}: ${allowed}`, () => {
          const g = user ? new PvGuest().enterUser() : new PvGuest();
          g.pv.iopl = iopl;
          if (architectural) g.domain.vmAssist = 1n << BigInt(VmAssist.architecturalIopl);
          expect(emulated(g, 0xfa)).toBe(allowed); // cli
          if (user) g.enterUser();
          expect(emulated(g, 0xe6, 0x80)).toBe(allowed); // out 0x80, al
          expect(g.vcpu.info.upcallMask).toBe(false);
        });
      }
    }
  }

  it('the bitmap lets single ports through, for every byte of the access', () => {
    const g = new PvGuest();
    g.cpu.gpr[R.rdx] = 0x47n;
    const out = [0xee]; // out dx, al
    expect(emulated(g, ...out)).toBe(false);
    g.pv.ioBitmap = DATA;
    g.pv.ioBitmapPorts = 0x50;
    const bitmap = new Uint8Array(16).fill(0xff);
    bitmap[8] = 0x7f;
    g.host.processor.writeLinear(DATA, bitmap);
    expect(emulated(g, ...out)).toBe(true);
    expect(emulated(g, 0x66, 0xef)).toBe(false); // out dx, ax: 0x48 as well
    bitmap[9] = 0xfe;
    g.host.processor.writeLinear(DATA, bitmap);
    expect(emulated(g, 0x66, 0xef)).toBe(true);
    g.pv.ioBitmapPorts = 0x48;
    expect(emulated(g, 0x66, 0xef)).toBe(false);
    g.pv.ioBitmap = 0x5000n;
    expect(emulated(g, ...out)).toBe(false);
  });

  it('the bitmap is read in the kernel’s address space', () => {
    const g = new PvGuest().enterUser();
    g.pv.ioBitmap = DATA;
    g.pv.ioBitmapPorts = 0x100;
    const root = g.host.processor.root;
    expect(emulated(g, 0xe6, 0x40)).toBe(true); // all of the page is zero: allowed
    expect(g.host.processor.root).toBe(root);
    expect(g.pv.inKernel).toBe(false);
  });
});

describe('ports', () => {
  const withIopl = (): PvGuest => {
    const g = new PvGuest();
    g.pv.iopl = 1;
    return g;
  };

  it('that do not exist read as ones in all sizes, and swallow writes', () => {
    const g = withIopl();
    g.cpu.gpr[R.rax] = 0x1122334455667788n;
    g.cpu.gpr[R.rdx] = 0x3f8n;
    emulated(g, 0xec); // in al, dx
    expect(g.cpu.gpr[R.rax]).toBe(0x11223344556677ffn);
    emulated(g, 0x66, 0xed);
    expect(g.cpu.gpr[R.rax]).toBe(0x112233445566ffffn);
    emulated(g, 0xed);
    expect(g.cpu.gpr[R.rax]).toBe(0xffffffffn);
    expect(emulated(g, 0xef)).toBe(true);
  });

  it('0xcf8 keeps a dword, 0xcfc has no devices', () => {
    const g = withIopl();
    g.cpu.gpr[R.rdx] = 0xcf8n;
    g.cpu.gpr[R.rax] = 0x80000000n;
    emulated(g, 0xef);
    g.cpu.gpr[R.rax] = 0n;
    emulated(g, 0xed);
    expect(g.cpu.gpr[R.rax]).toBe(0x80000000n);
    g.cpu.gpr[R.rdx] = 0xcfcn;
    emulated(g, 0xed);
    expect(g.cpu.gpr[R.rax]).toBe(0xffffffffn);
  });

  it('PIT channel 2 counts down and raises its output', () => {
    const g = withIopl();
    const { clock } = g.host.hypervisor;
    const out = (port: number, value: number): void => {
      g.cpu.gpr[R.rax] = BigInt(value);
      emulated(g, 0xe6, port);
    };
    const read = (port: number): number => {
      emulated(g, 0xe4, port);
      return Number(g.cpu.gpr[R.rax] & 0xffn);
    };
    out(0x61, 1);
    out(0x43, 0xb0); // channel 2, both bytes, mode 0
    out(0x42, 0xa9);
    out(0x42, 0x04); // 1193: about a millisecond
    expect(read(0x61) & 0x20).toBe(0);
    clock.advance(500_000n);
    const half = read(0x42) | (read(0x42) << 8);
    expect(half).toBeGreaterThan(590);
    expect(half).toBeLessThan(603);
    clock.advance(600_000n);
    expect(read(0x61) & 0x21).toBe(0x21);
  });

  it('INS and OUTS repeat, stop at page faults with what is done counted, and restart', () => {
    const g = withIopl();
    const end = CODE + 0x7000n;
    g.cpu.gpr[R.rdx] = 0x3f8n;
    g.cpu.gpr[R.rcx] = 4n;
    g.cpu.gpr[R.rdi] = DATA;
    expect(emulated(g, 0xf3, 0x6c)).toBe(true); // rep insb
    expect(g.words(DATA, 1)).toEqual([0xffffffffn]);
    expect([g.cpu.gpr[R.rcx], g.cpu.gpr[R.rdi]]).toEqual([0n, DATA + 4n]);

    g.unmap(end);
    g.handler(14, 0, HANDLER + 64n);
    g.cpu.gpr[R.rcx] = 8n;
    g.cpu.gpr[R.rsi] = end - 8n;
    g.cpu.rip = CODE;
    g.code(0xf3, 0x6f); // rep outsd
    g.exception(GP, 0);
    expect(g.cpu.rip).toBe(HANDLER + 64n);
    expect(g.vcpu.info.cr2).toBe(end);
    expect([g.cpu.gpr[R.rcx], g.cpu.gpr[R.rsi]]).toEqual([6n, end]);
    expect(g.frame(4)[3]).toBe(CODE);
  });

  it('a long REP is done in pieces', () => {
    const g = withIopl();
    g.handler(GP);
    g.cpu.gpr[R.rdx] = 0x3f8n;
    g.cpu.gpr[R.rcx] = 3000n;
    g.cpu.gpr[R.rsi] = DATA;
    g.code(0xf3, 0x6e);
    const runs: bigint[] = [];
    for (let i = 0; i < 3; i++) {
      g.exception(GP, 0);
      runs.push(g.cpu.rip - CODE);
    }
    expect(runs).toEqual([0n, 0n, 2n]);
    expect(g.cpu.gpr[R.rsi]).toBe(DATA + 3000n);
  });

  it('an instruction across the end of a page is read there only if it has to be', () => {
    const g = withIopl();
    g.handler(GP);
    g.unmap(CODE + 0x1000n);
    g.cpu.rip = CODE + 0xfffn;
    g.code(0xec);
    g.exception(GP, 0);
    expect(g.cpu.rip).toBe(CODE + 0x1000n);
  });
});

describe('MSRs', () => {
  const rdmsr = (g: PvGuest, index: number): bigint | null => {
    g.cpu.gpr[R.rcx] = BigInt(index);
    if (!emulated(g, 0x0f, 0x32)) return null;
    return ((g.cpu.gpr[R.rdx] & 0xffffffffn) << 32n) | (g.cpu.gpr[R.rax] & 0xffffffffn);
  };
  const wrmsr = (g: PvGuest, index: number, value: bigint): boolean => {
    g.cpu.gpr[R.rcx] = BigInt(index);
    g.cpu.gpr[R.rax] = value & 0xffffffffn;
    g.cpu.gpr[R.rdx] = value >> 32n;
    return emulated(g, 0x0f, 0x30);
  };

  it('segment bases are the active ones; non-canonical ones fault (XSA-193)', () => {
    const g = new PvGuest();
    expect(wrmsr(g, 0xc0000101, 0xffffffff83044000n)).toBe(true);
    expect(g.gsBase).toBe(0xffffffff83044000n);
    expect(wrmsr(g, 0xc0000102, 0x7000n)).toBe(true);
    expect(rdmsr(g, 0xc0000102)).toBe(0x7000n);
    expect(wrmsr(g, 0xc0000100, 0x1000n)).toBe(true);
    expect(g.cpu.get(S.segments + SEG.fs * 32 + 24)).toBe(0x1000n);
    for (const index of [0xc0000100, 0xc0000101, 0xc0000102]) expect(wrmsr(g, index, 0x8000_0000_0000n)).toBe(false);
  });

  it('answers as the trace of genuine Xen on an AMD host has it', () => {
    const g = new PvGuest();
    for (const [index, value] of [
      [0x277, 0x50100070406n],
      [0x1b, 0xfee00900n],
      [0xc0010015, 0n],
      [0xc0011029, 2n],
      [0x179, 2n],
      [0x17a, 0n],
      [0x401, 0n],
      [0x405, 0n],
      [0x400, 0xffffffffffffffffn],
      [0x404, 0xffffffffffffffffn],
      [0xc0010055, null],
      [0xc0010000, 0n],
      [0xc0010003, 0n],
      [0xc0010007, 0n],
      [0x1a0, null],
      [0x1d9, null],
    ] as const) {
      expect([index, rdmsr(g, index)]).toEqual([index, value]);
    }
    for (const [index, value] of [
      [0xc0010015, 0x40n],
      [0x400, 0xffffffffffffffffn],
      [0x401, 0n],
      [0xc0000103, 0n],
      [0xc0010007, 0xffffn],
    ] as const) {
      expect([index, wrmsr(g, index, value)]).toEqual([index, true]);
    }
    expect(wrmsr(g, 0x277, 0n)).toBe(false);
    expect(wrmsr(g, 0x10, 0n)).toBe(false);
  });

  it('a failing read gives 0 while there is no #GP handler', () => {
    const g = new PvGuest();
    g.cpu.gpr[R.rcx] = 0xc0010055n;
    g.cpu.gpr[R.rax] = 5n;
    g.code(0x0f, 0x32);
    g.exception(GP, 0);
    expect(g.domain.shutdown).toBeNull();
    expect(g.cpu.gpr[R.rax]).toBe(0n);
    expect(g.cpu.rip).toBe(CODE + 2n);
  });

  it('MISC_ENABLE exists on Intel alone (XSA-333)', () => {
    expect(rdmsr(new PvGuest('skylake'), 0x1a0)).not.toBeNull();
  });
});

describe('TSC', () => {
  it('is the kernel’s under CR4.TSD, not the user’s', () => {
    const g = new PvGuest();
    g.pv.cr4 = 4n;
    expect(emulated(g, 0x0f, 0x31)).toBe(true);
    g.cpu.set(S.tscAux, 7n);
    expect(emulated(g, 0x0f, 0x01, 0xf9)).toBe(true);
    expect(g.cpu.gpr[R.rcx]).toBe(7n);
    const u = new PvGuest().enterUser();
    u.pv.cr4 = 4n;
    expect(emulated(u, 0x0f, 0x31)).toBe(false);
  });
});

describe('XSETBV', () => {
  it('needs the guest’s OSXSAVE, and a value that the processor has', () => {
    const g = new PvGuest();
    g.handler(6, 0, HANDLER + 16n);
    g.cpu.gpr[R.rcx] = 0n;
    g.cpu.gpr[R.rdx] = 0n;
    g.cpu.gpr[R.rax] = 3n;
    g.code(0x0f, 0x01, 0xd1);
    g.exception(GP, 0);
    expect(g.cpu.rip).toBe(HANDLER + 16n); // #UD
    g.cpu.gpr[R.rsp] = KERNEL_STACK;
    g.pv.cr4 = 1n << 18n;
    expect(emulated(g, 0x0f, 0x01, 0xd1)).toBe(true);
    expect(g.cpu.get(S.xcr0)).toBe(3n);
    for (const bad of [0n, 2n, 0x80000001n]) {
      g.cpu.gpr[R.rax] = bad;
      expect(emulated(g, 0x0f, 0x01, 0xd1)).toBe(false);
    }
    expect(g.cpu.get(S.xcr0)).toBe(3n);
  });
});

describe('forced emulation of CPUID', () => {
  const UD2_XEN = [0x0f, 0x0b, 0x78, 0x65, 0x6e];

  it('gives Xen’s answer and shows OSXSAVE to the kernel alone', () => {
    for (const user of [false, true]) {
      const g = user ? new PvGuest().enterUser() : new PvGuest();
      g.handler(6);
      g.cpu.gpr[R.rax] = 1n;
      g.cpu.gpr[R.rcx] = 0n;
      g.code(...UD2_XEN, 0x0f, 0xa2);
      g.exception(6);
      expect(g.cpu.rip).toBe(CODE + 7n);
      expect((g.cpu.gpr[R.rcx] >> 31n) & 1n).toBe(1n);
      expect((g.cpu.gpr[R.rcx] >> 27n) & 1n).toBe(user ? 0n : 1n);
    }
  });

  it('takes no other instruction, and no other #UD', () => {
    const g = new PvGuest();
    g.handler(6);
    g.code(...UD2_XEN, 0x0f, 0x31);
    g.exception(6);
    expect(g.cpu.rip).toBe(HANDLER);
    g.cpu.rip = CODE;
    g.code(0x0f, 0x0b, 0x90, 0x90, 0x90, 0x0f, 0xa2);
    g.exception(6);
    expect(g.cpu.rip).toBe(HANDLER);
  });
});

describe('single step', () => {
  it('after an emulated instruction raises #DB behind it', () => {
    const g = new PvGuest();
    g.handler(1);
    g.handler(GP);
    g.cpu.rflags = IF | 0x100n;
    g.code(0x0f, 0x06);
    g.exception(GP, 0);
    expect(g.cpu.rip).toBe(HANDLER);
    expect(g.frame(3)[2]).toBe(CODE + 2n);
    expect(g.guest.call('get_debugreg', 6)).toBe(0xffff4ff0);
  });
});
