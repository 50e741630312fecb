// What the processor's fixtures cannot show: real-mode images, pending exceptions, the MMX view, conversions without an oracle.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newFloatEnv, toUnsigned, unpack64 } from '../../../src/cpu/float/softfloat.ts';
import * as x87 from '../../../src/cpu/float/x87.ts';

function withValue(value: bigint): x87.X87State {
  const s = x87.newX87State();
  x87.fild(s, value);
  return s;
}

describe('pending exceptions', () => {
  it('appear when an unmasked exception occurs and when a flagged one is unmasked, and go with FNCLEX', () => {
    const s = withValue(1n);
    x87.fldConstant(s, 6);
    x87.arithmeticSt(s, x87.FDIVR, 1, 0, false);
    expect(s.fsw & 0x3f).toBe(4);
    expect(x87.pendingException(s)).toBe(false);
    x87.fldcw(s, 0x37b);
    expect(x87.pendingException(s)).toBe(true);
    x87.fnclex(s);
    expect(x87.pendingException(s)).toBe(false);
    expect(s.fsw & 0x80ff).toBe(0);
  });

  it('keep the operands of an unmasked division by zero', () => {
    const s = withValue(0n);
    x87.fild(s, 5n);
    x87.fldcw(s, 0x37b);
    x87.arithmeticSt(s, x87.FDIV, 1, 1, true);
    expect(x87.pendingException(s)).toBe(true);
    expect(x87.fist(s, 32, true, false)).toBe(5n);
    expect(x87.fist(s, 32, true, false)).toBe(0n);
  });
});

describe('environment images', () => {
  const layouts = [true, false].flatMap(wide => [true, false].map(real => ({ wide, real })));

  it('come back as they went, in every layout', () => {
    for (const layout of layouts) {
      const s = withValue(-7n);
      s.fop = 0x5a5;
      s.fip = 0x1234n;
      s.fdp = 0xfedcn;
      const bytes = x87.fnsave(s, layout);
      expect(bytes.length).toBe(layout.wide ? 108 : 94);
      expect(s.ftw).toBe(0);
      x87.frstor(s, layout, bytes);
      expect([s.fip, s.fdp]).toEqual([0x1234n, 0xfedcn]);
      // The narrow protected layout has no room for the opcode.
      expect(s.fop).toBe(layout.wide || layout.real ? 0x5a5 : 0);
      expect(x87.fist(s, 16, true, false)).toBe(-7n);
    }
  });

  it('hold linear addresses in real mode', () => {
    const s = x87.newX87State();
    s.fop = 0x123;
    s.fcs = 0xf000;
    s.fip = 0x1234n;
    s.fds = 0x2000;
    s.fdp = 0x0010n;
    const narrow = new DataView(x87.fnstenv(s, { wide: false, real: true }).buffer);
    expect([6, 8, 10, 12].map(at => narrow.getUint16(at, true))).toEqual([0x1234, 0xf123, 0x0010, 0x2000]);
    const wide = new DataView(x87.fnstenv(s, { wide: true, real: true }).buffer);
    expect(wide.getUint16(12, true)).toBe(0x1234);
    expect(wide.getUint32(16, true)).toBe((0xf << 12) | 0x123);
    expect(wide.getUint32(24, true)).toBe(0x2 << 12);
  });

  it('of FXSAVE keep 32-bit pointers with selectors, or 64-bit ones', () => {
    const s = withValue(3n);
    s.fip = 0xffffffff81234567n;
    s.fdp = 0xffff888000001000n;
    s.fcs = 0x10;
    const image = new Uint8Array(512);
    const view = new DataView(image.buffer);
    x87.fxsaveX87(s, view, true);
    const back = x87.newX87State();
    x87.fxrstorX87(back, view, true);
    expect([back.fip, back.fdp, back.ftw]).toEqual([s.fip, s.fdp, 0x80]);
    x87.fxsaveX87(s, view, false);
    x87.fxrstorX87(back, view, false);
    expect([back.fip, back.fcs]).toEqual([0x81234567n, 0x10]);
    expect(image.subarray(24, 32)).toEqual(new Uint8Array(8));
  });
});

describe('the MMX view', () => {
  it('shares the significands, tags everything and resets TOP', () => {
    const s = withValue(1n);
    x87.enterMmx(s);
    x87.writeMmx(s, 3, 0x1122334455667788n);
    expect([x87.top(s), s.ftw, s.signExp(3)]).toEqual([0, 0xff, 0xffff]);
    expect(x87.readMmx(s, 3)).toBe(0x1122334455667788n);
    expect(x87.readMmx(s, 7)).toBe(1n << 63n);
    x87.emms(s);
    expect(s.ftw).toBe(0);
  });
});

describe('memory operands', () => {
  it('are described for every form', () => {
    expect(x87.memoryOperand(0xdb, 5)).toBe(10);
    expect(x87.memoryOperand(0xdf, 7)).toBe(-8);
    expect(x87.memoryOperand(0xd9, 6)).toBe(x87.IMAGE);
    expect(x87.memoryOperand(0xd9, 1)).toBe(0);
    expect(x87.executeRegister(x87.newX87State(), 0xd9, 0xd1, 0)).toBe(x87.UNDEFINED_OPCODE);
  });

  it('are not written when an unmasked exception forbids it', () => {
    const s = x87.newX87State();
    x87.fldcw(s, 0x37e);
    const memory = new DataView(new ArrayBuffer(16));
    expect(x87.executeMemory(s, 0xdb, 7, memory)).toBe(false);
    expect(x87.pendingException(s)).toBe(true);
  });
});

describe('any instruction on any state', () => {
  it('comes to an end and keeps the registers in shape', () => {
    const word = fc.integer({ min: 0, max: 0xffff });
    const register = fc.tuple(word, fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }));
    const state = fc.record({ fcw: word, fsw: word, ftw: fc.integer({ min: 0, max: 255 }) });
    const opcode = fc.record({ esc: fc.integer({ min: 0xd8, max: 0xdf }), modrm: fc.integer({ min: 0, max: 255 }) });
    fc.assert(
      fc.property(state, fc.array(register, { minLength: 10, maxLength: 10 }), opcode, (words, registers, op) => {
        const s = x87.newX87State();
        Object.assign(s, words, { fcw: x87.storedControl(words.fcw) });
        for (let i = 0; i < 8; i++) s.setRegister(i, ...registers[i]);
        const memory = new DataView(new ArrayBuffer(16));
        memory.setBigUint64(0, registers[8][1]);
        memory.setUint16(8, registers[9][0]);
        const size = x87.memoryOperand(op.esc, (op.modrm >> 3) & 7);
        if (op.modrm >= 0xc0) x87.executeRegister(s, op.esc, op.modrm, words.fsw);
        else if (size !== 0 && size !== x87.IMAGE) x87.executeMemory(s, op.esc, (op.modrm >> 3) & 7, memory);
        expect((s.fsw >>> 16) | (s.fcw >>> 16) | (s.ftw >>> 8)).toBe(0);
        for (let i = 0; i < 8; i++) expect(s.signExp(i) >>> 16).toBe(0);
      }),
      { numRuns: 20_000 },
    );
  });
});

describe('conversion to unsigned integers', () => {
  const convert = (value: number, bits: number): [bigint, number] => {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value);
    const env = newFloatEnv(false);
    return [toUnsigned(env, unpack64(env, view.getBigUint64(0)), bits, 0), env.flags];
  };

  it('takes the whole range and nothing below zero', () => {
    expect(convert(2 ** 32 - 1, 32)).toEqual([0xffffffffn, 0]);
    expect(convert(2 ** 32, 32)).toEqual([0xffffffffn, 1]);
    expect(convert(2 ** 63, 64)).toEqual([1n << 63n, 0]);
    expect(convert(-0.25, 32)).toEqual([0n, 32]);
    expect(convert(-1, 32)).toEqual([0xffffffffn, 1]);
    expect(convert(Number.NaN, 64)).toEqual([(1n << 64n) - 1n, 1]);
  });
});

describe('transcendental functions', () => {
  /** Values to 70 bits from the series; the x87's pi makes no difference to them. */
  it('are rounded correctly at 1', () => {
    const at1 = (run: (s: x87.X87State) => void): [number, bigint] => {
      const s = withValue(1n);
      run(s);
      return [s.signExp(x87.top(s)), s.mantissa(x87.top(s))];
    };
    expect(at1(x87.fsin)).toEqual([0x3ffe, 0xd76aa47848677021n]);
    expect(at1(x87.fcos)).toEqual([0x3ffe, 0x8a51407da8345c92n]);
    const atan = at1(s => {
      x87.fild(s, 1n);
      x87.fpatan(s);
    });
    expect(atan).toEqual([0x3ffe, 0xc90fdaa22168c235n]);
  });
});
