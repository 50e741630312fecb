// Table registers, questions about descriptors, flags, ports, system calls, decimal and stack instructions.
import { describe, expect, it } from 'vitest';
import { AMD, At, Exit, Flag, fault, INTEL, Machine, ModeBit, R, S, SEG, Sel, Vector } from './machine.ts';

const { free } = Sel;
const gp0 = fault(Vector.GP, 0);
const ud = fault(Vector.UD);
const zf = (m: Machine): boolean => (m.state.rflags & BigInt(Flag.ZF)) !== 0n;

describe('LGDT LIDT SGDT SIDT', () => {
  it('have 10 bytes in 64-bit mode and refuse bases that are not canonical', () => {
    const m = new Machine().long().set(R.rbx, At.data);
    m.poke(At.data, 2, 0x123);
    m.poke(At.data + 2, 8, 0xffff_8000_0000_1000n);
    m.step('0f 01 1b');
    expect(m.reg(SEG.idtr)).toMatchObject({ base: 0xffff_8000_0000_1000n, limit: 0x123 });
    m.step('0f 01 4b 40');
    expect(m.bytes(At.data + 0x40, 10)).toEqual(m.bytes(At.data, 10));
    m.poke(At.data + 2, 8, 0x8000_0000_0000n);
    expect(m.fault('0f 01 13')).toMatchObject(gp0);
  });
  it('have 6 bytes elsewhere, 24 bits of base with a 16-bit operand', () => {
    const m = new Machine().protected().set(R.rbx, At.data);
    m.poke(At.data, 8, 0xee_9a123456_0fffn);
    m.step('0f 01 13');
    expect(m.reg(SEG.gdtr)).toMatchObject({ base: 0x9a123456n, limit: 0xfff });
    m.step('66 0f 01 1b');
    expect(m.reg(SEG.idtr)).toMatchObject({ base: 0x123456n, limit: 0xfff });
    m.poke(At.data + 0x40, 8, -1);
    m.step('0f 01 43 40');
    expect(m.peek(At.data + 0x40, 8)).toBe(0xffff_9a123456_0fffn);
  });
  it('load in ring 0 only; stores are refused to users by UMIP', () => {
    expect(new Machine().long(3).fault('0f 01 13')).toMatchObject(gp0);
    const m = new Machine()
      .long(3)
      .set(R.rbx, At.data)
      .step('0f 01 03')
      .step('0f 00 c0')
      .step('0f 00 c9')
      .step('0f 01 e2');
    expect([m.get(R.rax), m.get(R.rcx), m.get(R.rdx)]).toEqual([BigInt(Sel.ldt), BigInt(Sel.tss), 0x80010033n]);
    m.state.set(S.cr4, 0xa20n);
    for (const hex of ['0f 01 03', '0f 01 0b', '0f 00 c0', '0f 00 c8', '0f 01 e0'])
      expect(m.fault(hex)).toMatchObject(gp0);
  });
});

describe('LLDT and LTR', () => {
  it('take 16-byte descriptors in long mode', () => {
    const m = new Machine().long().set(R.rax, free);
    m.descriptor(free, 0x1000, 0xff, 0x82, 0xffff8000);
    m.step('0f 00 d0');
    expect(m.reg(SEG.ldtr)).toMatchObject({ selector: free, base: 0xffff8000_00001000n, limit: 0xff });
    m.descriptor(free, 0x1000, 0x67, 0x89, 0xffff8000);
    m.step('0f 00 d8');
    expect(m.reg(SEG.tr)).toMatchObject({ selector: free, base: 0xffff8000_00001000n, attributes: 0x8b });
    expect(m.peek(At.gdt + free + 5, 1)).toBe(0x8bn);
  });
  it('check type, table, presence; null is for LLDT', () => {
    const lldt = '0f 00 d0';
    const ltr = '0f 00 d8';
    const m = new Machine().long();
    expect(m.set(R.rax, 3).step(lldt).reg(SEG.ldtr)).toMatchObject({ selector: 3, attributes: 0 });
    expect(m.set(R.rax, 3).fault(ltr)).toMatchObject(gp0);
    expect(m.set(R.rax, Sel.data).fault(lldt)).toMatchObject(fault(Vector.GP, Sel.data));
    expect(m.set(R.rax, Sel.tss).fault(ltr)).toMatchObject(fault(Vector.GP, Sel.tss));
    expect(m.set(R.rax, 0xc).fault(ltr)).toMatchObject(fault(Vector.GP, 0xc));
    m.descriptor(free, 0, 0, 0x02, 0);
    expect(m.set(R.rax, free).fault(lldt)).toMatchObject(fault(Vector.NP, free));
    m.descriptor(free, 0, 0, 0x82, 0x8000);
    expect(m.fault(lldt)).toMatchObject(fault(Vector.GP, free));
    expect(new Machine().long(3).fault(lldt)).toMatchObject(gp0);
    for (const hex of [lldt, ltr]) expect(new Machine().real().fault(hex)).toMatchObject(ud);
  });
});

describe('LAR LSL VERR VERW', () => {
  it('give rights and limit, and tell by ZF', () => {
    const m = new Machine()
      .long(3)
      .set(R.rax, free | 3)
      .set(R.rcx, 0x5555);
    m.descriptor(free, 0x12345678, 0x54321, 0xd0f2);
    m.step('0f 02 c8').step('0f 03 d0');
    expect([m.get(R.rcx), m.get(R.rdx), zf(m)]).toEqual([0xd5f200n, 0x54321fffn, true]);
    m.descriptor(free, 0, 0xfffff, 0xc093);
    m.set(R.rcx, 0x5555).step('0f 02 c8');
    expect([m.get(R.rcx), zf(m)]).toEqual([0x5555n, false]);
    expect(zf(m.set(R.rax, 0).step('0f 02 c8'))).toBe(false);
    expect(zf(m.set(R.rax, 0x1003).step('0f 03 c8'))).toBe(false);
  });
  it('look at some system segments, fewer in long mode', () => {
    const seen = (m: Machine, hex: string) =>
      Array.from({ length: 16 }, (_, type) => type).filter(type => {
        m.descriptor(free, 0, 0, 0x80 | type);
        return zf(m.set(R.rax, free).step(hex));
      });
    expect(seen(new Machine().protected(), '0f 02 c8')).toEqual([1, 2, 3, 4, 5, 9, 11, 12]);
    expect(seen(new Machine().protected(), '0f 03 c8')).toEqual([1, 2, 3, 9, 11]);
    expect(seen(new Machine().long(), '0f 02 c8')).toEqual([2, 9, 11, 12]);
    expect(seen(new Machine().long(), '0f 03 c8')).toEqual([2, 9, 11]);
  });
  it('VERR and VERW judge like loads', () => {
    const m = new Machine().long(3);
    const check = (attributes: number) => {
      m.descriptor(free, 0, 0xfffff, attributes);
      return [zf(m.set(R.rax, free | 3).step('0f 00 e0')), zf(m.set(R.rax, free | 3).step('0f 00 e8'))];
    };
    expect([0xc0f3, 0xc0f1, 0xc0fb, 0xc0f9, 0xc09f, 0xc093, 0x00e2].map(check)).toEqual([
      [true, true], [true, false], [true, false], [false, false], [true, false], [false, false], [false, false],
    ]); // biome-ignore format: a table
  });
});

describe('RFLAGS', () => {
  const IF = BigInt(Flag.IF);
  it('CLI and STI follow IOPL', () => {
    expect(new Machine().long(3).fault('fa')).toMatchObject(gp0);
    expect(new Machine().long(3).fault('fb')).toMatchObject(gp0);
    expect(new Machine().long(3).flags(Flag.IOPL).step('fb').state.rflags & IF).toBe(IF);
    expect(new Machine().v86(2).fault('fa')).toMatchObject(gp0);
    expect(
      new Machine()
        .v86(3)
        .flags(Flag.VM | Flag.IOPL | Flag.IF)
        .step('fa').state.rflags & IF,
    ).toBe(0n);
    expect(new Machine().real().step('fb').state.rflags & IF).toBe(IF);
  });
  it('POPF silently leaves what the ring may not change', () => {
    const all = 0x3f7fd7n & ~BigInt(Flag.TF);
    const pop = (m: Machine) => m.push(8, all).step('9d').state.rflags;
    const never = BigInt(Flag.VM | Flag.RF | Flag.VIF | Flag.VIP);
    expect(pop(new Machine().long())).toBe(all & ~never);
    expect(pop(new Machine().long(3))).toBe(all & ~never & ~BigInt(Flag.IF | Flag.IOPL));
    expect(pop(new Machine().long(3).flags(Flag.IOPL))).toBe(all & ~never);
    expect(new Machine().long(3).flags(Flag.AC).push(2, Flag.CF).step('66 9d').state.rflags).toBe(
      BigInt(Flag.AC | Flag.CF | 2),
    );
  });
  it('POPF and PUSHF want IOPL 3 in virtual-8086 mode', () => {
    for (const hex of ['9c', '9d']) expect(new Machine().v86(2).fault(hex)).toMatchObject(gp0);
    const m = new Machine()
      .v86(3)
      .push(2, Flag.IF | Flag.CF)
      .step('9d');
    expect(m.state.rflags).toBe(BigInt(Flag.VM | Flag.IOPL | Flag.IF | Flag.CF | 2));
  });
  it('CLAC and STAC belong to the kernel', () => {
    const AC = BigInt(Flag.AC);
    expect(new Machine().long().step('0f 01 cb').state.rflags & AC).toBe(AC);
    expect(new Machine().long().flags(Flag.AC).step('0f 01 ca').state.rflags & AC).toBe(0n);
    for (const hex of ['0f 01 ca', '0f 01 cb']) expect(new Machine().long(3).fault(hex)).toMatchObject(ud);
  });
});

describe('ports', () => {
  function ported(cpl: number, bitmap: number, limit = 0x6a, pv = false): [Machine, unknown[]] {
    const m = new Machine().long(cpl, pv);
    m.idtLong(Vector.GP, At.handlers);
    const log: unknown[] = [];
    m.cpu.bus = {
      read: () => 0n,
      write: () => {},
      portRead: (port, size) => {
        log.push(['in', port, size]);
        return 0xffffff42;
      },
      portWrite: (port, size, value) => log.push(['out', port, size, value]),
    };
    m.state.writeSegment(SEG.tr, { ...m.reg(SEG.tr), limit });
    m.poke(At.tss + 0x68, 4, bitmap);
    return [m, log];
  }
  it('are there for IOPL, with the width of the operand', () => {
    const [m, log] = ported(3, 0);
    m.flags(Flag.IOPL).set(R.rax, 0xa1b2c3d4).set(R.rdx, 0x3f8).step('e4 60');
    expect(m.get(R.rax)).toBe(0xa1b2c342n);
    m.step('66 ef').step('ee').step('ed');
    expect(log).toEqual([
      ['in', 0x60, 1],
      ['out', 0x3f8, 2, 0xc342],
      ['out', 0x3f8, 1, 0x42],
      ['in', 0x3f8, 4],
    ]);
    expect(m.get(R.rax)).toBe(0xffffff42n);
  });
  it('are there by the bitmap, all bits of the access', () => {
    const reach = (bitmap: number, hex: string, limit?: number) => {
      const [m, log] = ported(3, bitmap, limit);
      m.step(hex);
      return log.length === 1;
    };
    expect([reach(0, 'e4 07'), reach(0x80, 'e4 07'), reach(0x100, 'e4 07')]).toEqual([true, false, true]);
    expect([reach(0x100, '66 e5 07'), reach(0x200, '66 e5 07'), reach(0x400, 'e5 07')]).toEqual([false, true, false]);
    expect([reach(0, 'e4 08'), reach(0, 'e4 10'), reach(0, 'e4 00', 0x66)]).toEqual([true, false, false]);
  });
  it('do not exist for PV guests', () => {
    const [m] = ported(3, 0, 0x6a, true);
    expect(m.flags(Flag.IOPL).fault('e4 60')).toMatchObject(gp0);
    expect(m.fault('6c')).toMatchObject(gp0);
  });
  it('INS and OUTS go on where they were', () => {
    const [m, log] = ported(0, 0);
    m.set(R.rdi, At.data).set(R.rsi, At.data).set(R.rcx, 3).set(R.rdx, 0x170).code('f3 6d');
    for (let left = 2; left >= 0; left--) expect([m.cpu.run(1), m.get(R.rcx)]).toEqual([Exit.fuel, BigInt(left)]);
    expect([m.peek(At.data + 8, 4), m.get(R.rcx), m.get(R.rdi)]).toEqual([0xffffff42n, 0n, BigInt(At.data + 12)]);
    m.set(R.rcx, 2).code('f3 6e').cpu.run(2);
    expect(log.slice(3)).toEqual([
      ['out', 0x170, 1, 0x42],
      ['out', 0x170, 1, 0xff],
    ]);
  });
});

describe('SYSCALL and SYSRET', () => {
  function calling(vendor: typeof AMD | typeof INTEL, cpl: number, compat = false): Machine {
    const m = new Machine(vendor);
    if (compat) m.compat(cpl, false);
    else m.long(cpl, false);
    m.idtLong(Vector.UD, At.handlers);
    m.idtLong(Vector.GP, At.handlers + 0x100);
    m.state.set(S.star, 0x0023_0008_1234_5678n);
    m.state.set(S.lstar, 0xffff_8000_0000_1000n);
    m.state.set(S.cstar, 0xffff_8000_0000_2000n);
    m.state.set(S.sfmask, BigInt(Flag.IF | Flag.TF));
    return m;
  }
  it('SYSCALL saves RIP and RFLAGS, masks, and loads flat segments of STAR', () => {
    const m = calling(INTEL, 3)
      .flags(Flag.IF | Flag.CF)
      .step('0f 05');
    expect([m.state.rip, m.get(R.rcx), m.get(R.r11), m.state.rflags]).toEqual([
      0xffff_8000_0000_1000n,
      BigInt(At.userCode + 2),
      BigInt(Flag.IF | Flag.CF | 2),
      BigInt(Flag.CF | 2),
    ]);
    expect([m.state.cpl, m.reg(SEG.cs), m.reg(SEG.ss)]).toEqual([
      0,
      { selector: 8, base: 0n, limit: 0xffffffff, attributes: 0xa09b },
      { selector: 0x10, base: 0n, limit: 0xffffffff, attributes: 0xc093 },
    ]);
  });
  it('is there in compatibility mode on AMD, by CSTAR', () => {
    const m = calling(AMD, 3, true).step('0f 05');
    expect([m.state.rip, m.state.get32(S.mode) & ModeBit.long64]).toEqual([0xffff_8000_0000_2000n, 1]);
    expect(calling(INTEL, 3, true).step('0f 05').state.rip).toBe(BigInt(At.handlers));
  });
  it('is undefined without EFER.SCE', () => {
    const m = calling(INTEL, 3);
    m.state.set(S.efer, 0xd00n);
    expect(m.step('0f 05').state.rip).toBe(BigInt(At.handlers));
  });
  it('leaves run() in PV mode with the registers as they were', () => {
    const m = new Machine().long(3).set(R.rcx, 7).step('0f 05', Exit.syscall);
    expect([m.get(R.rcx), m.state.rip, m.state.get(S.nextRip)]).toEqual([
      7n,
      BigInt(At.userCode),
      BigInt(At.userCode + 2),
    ]);
  });
  it('SYSRET returns to 64-bit or compatibility code', () => {
    const flags = 0x3f7fd7n & ~BigInt(Flag.TF);
    const m = calling(INTEL, 0).set(R.rcx, At.userCode).set(R.r11, flags).step('48 0f 07');
    expect([m.state.rip, m.state.cpl, m.sel(SEG.cs), m.sel(SEG.ss), m.state.rflags]).toEqual([
      BigInt(At.userCode),
      3,
      0x33,
      0x2b,
      flags & ~BigInt(Flag.RF | Flag.VM),
    ]);
    const n = calling(INTEL, 0).set(R.rcx, 0xffffffff_00009000n).set(R.r11, 2).step('0f 07');
    expect([n.state.rip, n.sel(SEG.cs), n.state.get32(S.mode) & ModeBit.long64]).toEqual([0x9000n, 0x23, 0]);
  });
  it('with a return address that is not canonical faults in ring 0 on Intel, in ring 3 on AMD', () => {
    const intel = calling(INTEL, 0).set(R.rcx, 0x8000_0000_0000n).step('48 0f 07');
    expect([intel.state.rip, intel.stack(2, 8)]).toEqual([BigInt(At.handlers + 0x100), BigInt(Sel.code64)]);
    const amd = calling(AMD, 0).set(R.rcx, 0x8000_0000_0000n).set(R.r11, 2).step('48 0f 07');
    expect([amd.state.cpl, amd.state.rip]).toEqual([3, 0x8000_0000_0000n]);
    amd.cpu.run(1);
    expect([amd.state.rip, amd.stack(1, 8), amd.stack(2, 8)]).toEqual([
      BigInt(At.handlers + 0x100),
      0x8000_0000_0000n,
      0x33n,
    ]);
  });
  it('on AMD SYSRET loads of SS the selector only', () => {
    const m = calling(AMD, 0).set(R.rcx, At.userCode).set(R.r11, 2);
    m.state.writeSegment(SEG.ss, { selector: 0, base: 5n, limit: 6, attributes: 0x4093 });
    m.step('48 0f 07');
    expect(m.reg(SEG.ss)).toMatchObject({ base: 5n, limit: 6 });
  });
});

describe('SYSENTER and SYSEXIT', () => {
  function entering(vendor: typeof AMD | typeof INTEL, cpl: number, pv = false): Machine {
    const m = new Machine(vendor).protected(cpl, pv);
    for (let v = 0; v < 32; v++) m.gate(At.idt + v * 8, Sel.code32, At.handlers + v * 16, 0x8e);
    m.state.set(S.sysenterCs, 0x18n);
    m.state.set(S.sysenterEsp, 0x1234n);
    m.state.set(S.sysenterEip, 0x5678n);
    return m;
  }
  it('move between rings with what the MSRs say', () => {
    const m = entering(AMD, 3)
      .flags(Flag.IF | Flag.CF)
      .step('0f 34');
    expect([m.state.rip, m.get(R.rsp), m.sel(SEG.cs), m.sel(SEG.ss), m.state.cpl, m.state.rflags]).toEqual([
      0x5678n,
      0x1234n,
      0x18,
      0x20,
      0,
      BigInt(Flag.CF | 2),
    ]);
    m.set(R.rcx, 0x100).set(R.rdx, 0x200).step('0f 35');
    expect([m.state.rip, m.get(R.rsp), m.sel(SEG.cs), m.sel(SEG.ss), m.state.cpl]).toEqual([
      0x200n,
      0x100n,
      0x2b,
      0x33,
      3,
    ]);
  });
  it('want a selector', () => {
    const m = entering(INTEL, 3, true);
    m.state.set32(S.pv, 1);
    expect(m.step('0f 34', Exit.sysenter).state.rip).toBe(BigInt(At.userCode));
    const n = entering(INTEL, 3);
    n.state.set(S.sysenterCs, 3n);
    expect([n.step('0f 34').state.rip, n.stack(0, 4)]).toEqual([BigInt(At.handlers + 0xd0), 0n]);
    expect(new Machine().long(3).fault('0f 35')).toMatchObject(gp0);
  });
  it('are undefined in long mode on AMD', () => {
    expect(new Machine(AMD).long(3).fault('0f 34')).toMatchObject(ud);
    new Machine(INTEL).long(3).step('0f 34', Exit.sysenter);
  });
});

describe('VMCALL and VMMCALL', () => {
  it('are the vendor’s', () => {
    new Machine(INTEL).long().step('0f 01 c1', Exit.vmcall);
    new Machine(AMD).long().step('0f 01 d9', Exit.vmcall);
    expect(new Machine(AMD).long().fault('0f 01 c1')).toMatchObject(ud);
    expect(new Machine(INTEL).long().fault('0f 01 d9')).toMatchObject(ud);
  });
});

describe('decimal adjustments', () => {
  const run = (hex: string, ax: number, flags = 0) => {
    const m = new Machine()
      .protected()
      .set(R.rax, 0xaaaa0000 | ax)
      .flags(flags)
      .step(hex);
    const f = Number(m.state.rflags);
    return [
      Number(m.get(R.rax) & 0xffffn),
      (f & Flag.CF ? 'c' : '') + (f & Flag.AF ? 'a' : '') + (f & Flag.ZF ? 'z' : '') + (f & Flag.SF ? 's' : ''),
    ];
  };
  it('follow the examples and the pseudo-code of the manual', () => {
    expect(run('27', 0x00ae)).toEqual([0x14, 'ca']);
    expect(run('27', 0x0079, Flag.AF)).toEqual([0x7f, 'a']);
    expect(run('27', 0x009a)).toEqual([0, 'caz']);
    expect(run('2f', 0x00ee)).toEqual([0x88, 'cas']);
    expect(run('2f', 0x0003, Flag.AF)).toEqual([0xfd, 'cas']);
    expect(run('37', 0x000f)).toEqual([0x105, 'ca']);
    expect(run('37', 0x00fa)).toEqual([0x200, 'caz']);
    expect(run('3f', 0x0205, Flag.AF)).toEqual([0xf, 'ca']);
    expect(run('3f', 0x0025)).toEqual([0x5, '']);
    expect(run('d4 0a', 0x004f)).toEqual([0x709, '']);
    expect(run('d5 0a', 0x0709)).toEqual([0x4f, '']);
    expect(run('d6', 0x1234, Flag.CF)).toEqual([0x12ff, 'c']);
  });
  it('AAM divides: #DE for 0', () => {
    expect(new Machine().protected().fault('d4 00')).toMatchObject(fault(Vector.DE));
    expect(new Machine().long().fault('27')).toMatchObject(ud);
  });
});

describe('ENTER, PUSHA, POPA', () => {
  const SP = At.stack0 + 0x400;
  it('ENTER copies frame pointers', () => {
    const m = new Machine().protected().set(R.rbp, SP + 0x20);
    m.poke(SP + 0x1c, 4, 0x1111);
    m.step('c8 10 00 02');
    expect([m.get(R.rbp), m.get(R.rsp)]).toEqual([BigInt(SP - 4), BigInt(SP - 12 - 16)]);
    expect([-4, -8, -12].map(o => m.peek(SP + o, 4))).toEqual([BigInt(SP + 0x20), 0x1111n, BigInt(SP - 4)]);
    const l = new Machine().long().set(R.rbp, 0x7777).step('c8 20 00 00');
    expect([l.get(R.rbp), l.get(R.rsp), l.peek(SP - 8, 8)]).toEqual([BigInt(SP - 8), BigInt(SP - 40), 0x7777n]);
  });
  it('ENTER faults where its last byte could not be written', () => {
    const m = new Machine().long();
    m.page(At.stack0 - 0x1000, 0n);
    expect(m.fault('c8 00 08 00')).toMatchObject({ vector: Vector.PF, code: 2 });
  });
  it('PUSHA and POPA keep order and skip SP', () => {
    const m = new Machine().protected();
    [R.rax, R.rcx, R.rdx, R.rbx, R.rbp, R.rsi, R.rdi].forEach(r => {
      m.set(r, 0x10 + r);
    });
    m.step('60');
    expect([7, 6, 5, 4, 3, 2, 1, 0].map(i => m.stack(i, 4))).toEqual(
      [0x10, 0x11, 0x12, 0x13, SP, 0x15, 0x16, 0x17].map(BigInt),
    );
    for (let i = 0; i < 8; i++) m.poke(SP - 32 + i * 4, 4, 0x90 + i);
    m.step('61');
    expect([R.rax, R.rbx, R.rsp, R.rdi].map(r => m.get(r))).toEqual([0x97n, 0x94n, BigInt(SP), 0x90n]);
    m.set(R.rax, 0xabcd1234).step('66 60').set(R.rax, 0xffff0000).step('66 61');
    expect(m.get(R.rax)).toBe(0xffff1234n);
  });
  it('change nothing where the stack is too small', () => {
    const m = new Machine().protected().set(R.rsp, 0x10);
    m.state.writeSegment(SEG.ss, { selector: Sel.data, base: BigInt(At.stack0), limit: 0x20, attributes: 0x4093 });
    expect(m.fault('60')).toMatchObject(fault(Vector.SS, 0));
    expect(m.fault('61')).toMatchObject(fault(Vector.SS, 0));
  });
});
