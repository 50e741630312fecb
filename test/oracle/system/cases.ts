// The system cases: what each start state, instruction, descriptor, gate or page-table entry makes of the processor. Values that
// differ between AMD and Intel are left out (SYSRET to a non-canonical address, SYSENTER in long mode, LAR of exotic types).
import { attributes, base, F, limit, msr, type SystemCase, selector } from './fields.ts';
import { At, CODE_OFFSET, EFER, gate64, HIGH_ALIAS, Int, Sel, STACK_TOP, STARTS, TEST_LINEAR } from './machine.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSP = 4;
const R11 = 11;

type Fields = [number, bigint][];
type Patch = { address: number; bytes: Uint8Array };

interface Extra {
  fields?: Fields;
  patches?: Patch[];
  targets?: bigint[];
}

const cases: SystemCase[] = [];

const fromHex = (text: string): Uint8Array => Uint8Array.from(text.split(' ').map(b => Number.parseInt(b, 16)));

const CODE: Readonly<Record<string, number>> = {
  kernel64: At.code0,
  kernel32: At.code0,
  user64: At.code3,
  user32: At.code3,
};

function add(start: string, name: string, code: string, extra: Extra = {}): void {
  const bytes = fromHex(code);
  const user = start.startsWith('user');
  const next = BigInt(CODE[start] + CODE_OFFSET + bytes.length);
  cases.push({
    name: `${name} [${start}: ${code}]`,
    start,
    code: bytes,
    fields: extra.fields ?? [],
    patches: extra.patches ?? [],
    userTargets: [...(user ? [next] : []), ...(extra.targets ?? [])].slice(0, 4),
  });
}

const words = (size: number, ...values: bigint[]): Uint8Array => {
  const bytes = new Uint8Array(values.length * size);
  values.forEach((v, i) => {
    for (let k = 0; k < size; k++) bytes[i * size + k] = Number((v >> BigInt(k * 8)) & 0xffn);
  });
  return bytes;
};
const at = (address: number, bytes: Uint8Array): Patch => ({ address, bytes });
const hex = (v: bigint | number): string => v.toString(16);

const NOT_CANONICAL = 0x8000_0000_0000n;
const KERNELS = ['kernel64', 'kernel32'] as const;
const USERS = ['user64', 'user32'] as const;
const ALL = [...KERNELS, ...USERS] as const;

function controlRegisters(): void {
  const cr0 = STARTS.kernel64[F.cr0];
  const cr4 = STARTS.kernel64[F.cr4];
  const zeros: [string, bigint][] = [
    ['the same', cr0],
    ['without WP', cr0 & ~0x10000n],
    ['with TS', cr0 | 8n],
    ['with EM', cr0 | 4n],
    ['without NE', cr0 & ~0x20n],
    ['without ET', cr0 & ~0x10n],
    ['CD without NW', cr0 | 0x40000000n],
    ['NW without CD', cr0 | 0x20000000n],
    ['without PE', cr0 & ~1n],
    ['without PG in 64-bit mode', cr0 & ~0x80000000n],
    ['a high bit', cr0 | (1n << 32n)],
    ['a reserved low bit', cr0 | 0x40n],
  ];
  for (const [what, value] of zeros) add('kernel64', `CR0 ${what}`, '0f 22 c0', { fields: [[RAX, value]] });
  const fours: [string, bigint][] = [
    ['the same', cr4],
    ['with TSD, DE, MCE', cr4 | 0x4cn],
    ['with PCE', cr4 | 0x100n],
    ['without PGE', cr4 & ~0x80n],
    ['without PAE', cr4 & ~0x20n],
    ['without OSFXSR', cr4 & ~0x200n],
    ['with SMEP', cr4 | 0x100000n],
    ['with SMAP', cr4 | 0x200000n],
    ['with LA57', cr4 | 0x1000n],
    ['a reserved bit', cr4 | (1n << 31n)],
    ['a high bit', cr4 | (1n << 40n)],
  ];
  for (const [what, value] of fours) add('kernel64', `CR4 ${what}`, '0f 22 e0', { fields: [[RAX, value]] });
  for (const value of [
    BigInt(At.pml4),
    BigInt(At.pml4) | 0x18n,
    BigInt(At.pml4) | (1n << 52n),
    BigInt(At.pml4) | (1n << 60n),
  ])
    add('kernel64', `CR3 = ${hex(value)}`, '0f 22 d8', { fields: [[RAX, value]] });
  for (const value of [0n, 5n, 15n, 16n, 1n << 40n])
    add('kernel64', `CR8 = ${hex(value)}`, '44 0f 22 c0', { fields: [[RAX, value]] });
  add('kernel64', 'CR2 write', '0f 22 d0', { fields: [[RAX, 0xdead_beef_1234_5678n]] });
  for (const n of [0, 1, 2, 3, 4, 5, 6, 7]) {
    const modrm = hex(0xc0 | (n << 3));
    for (const start of ['kernel64', 'user64']) {
      add(start, `read CR${n}`, `0f 20 ${modrm}`, { fields: [[F.cr2, 0x1234_5678_9abcn]] });
      if ([1, 5, 6, 7].includes(n) || start === 'user64')
        add(start, `write CR${n}`, `0f 22 ${modrm}`, { fields: [[RAX, STARTS.kernel64[F.cr0]]] });
    }
  }
  add('kernel64', 'read CR8', '44 0f 20 c0', { fields: [[F.cr8, 9n]] });
  add('kernel64', 'read CR9', '44 0f 20 c8');
  add('kernel64', 'mod of MOV CR is ignored', '0f 20 00');
  add('kernel64', 'LOCK MOV CR0', 'f0 0f 20 c0', {});
  for (const value of [0xfff0n, 0xffffn, 0x000en, 0x8n])
    for (const start of ['kernel64', 'user64'])
      add(start, `LMSW ${hex(value)}`, '0f 01 f0', { fields: [[RAX, value]] });
  add('kernel64', 'SMSW eax', '0f 01 e0');
  add('kernel64', 'SMSW ax', '66 0f 01 e0');
  add('kernel64', 'SMSW rax', '48 0f 01 e0');
  add('kernel64', 'SMSW to memory', '0f 01 23', { fields: [[RBX, BigInt(At.data0 + 0x101)]] });
  for (const start of ['kernel64', 'user64']) {
    add(start, 'CLTS', '0f 06', { fields: [[F.cr0, STARTS.kernel64[F.cr0] | 8n]] });
    for (const [name, code] of [
      ['INVLPG', '0f 01 3b'],
      ['WBINVD', '0f 09'],
      ['INVD', '0f 08'],
      ['HLT', 'f4'],
      ['CLI', 'fa'],
      ['STI', 'fb'],
      ['SWAPGS', '0f 01 f8'],
      ['CLAC', '0f 01 ca'],
      ['STAC', '0f 01 cb'],
    ])
      add(start, name, code, {
        fields: [
          [RBX, BigInt(At.data0)],
          [F.rflags, start === 'user64' ? 0x202n : 0x40046n],
        ],
      });
  }
  add('kernel64', 'INVLPG of a bad address', '0f 01 3b', { fields: [[RBX, NOT_CANONICAL]] });
  add('kernel64', 'INVLPG with a register', '0f 01 38');
  add('kernel32', 'SWAPGS outside 64-bit mode', '0f 01 f8');
  for (const iopl of [0n, 0x3000n]) {
    for (const [name, code] of [
      ['CLI', 'fa'],
      ['STI', 'fb'],
    ])
      for (const start of USERS)
        add(start, `${name} with IOPL ${iopl >> 12n}`, code, { fields: [[F.rflags, 0x202n | iopl]] });
    for (const [name, code] of [
      ['IN', 'ec'],
      ['OUT', 'ee'],
      ['IN imm', 'e4 80'],
      ['INSB', '6c'],
      ['OUTSB', '6e'],
    ])
      if (iopl === 0n) add('user64', `${name} without permission`, code, { fields: [[F.rflags, 0x202n]] });
  }
}

function debugRegisters(): void {
  for (let n = 0; n < 8; n++) {
    const modrm = hex(0xc0 | (n << 3));
    for (const start of ['kernel64', 'user64']) {
      add(start, `read DR${n}`, `0f 21 ${modrm}`, {
        fields: [
          [F.dr0, 0x1111n],
          [F.dr0 + 3, 0x4444n],
        ],
      });
      add(start, `write DR${n}`, `0f 23 ${modrm}`, { fields: [[RAX, n === 7 ? 0x400n : 0x1234n]] });
    }
    add('kernel64', `DR${n} with CR4.DE`, `0f 21 ${modrm}`, { fields: [[F.cr4, STARTS.kernel64[F.cr4] | 8n]] });
  }
  for (const value of [1n << 32n, 0xffff_ffff_0000_0400n]) {
    add('kernel64', `DR7 = ${hex(value)}`, '0f 23 f8', { fields: [[RAX, value]] });
    add('kernel64', `DR6 = ${hex(value)}`, '0f 23 f0', { fields: [[RAX, value]] });
  }
  add('kernel64', 'DR6 = 0', '0f 23 f0', { fields: [[RAX, 0n]] });
  add('kernel64', 'DR6 = all', '0f 23 f0', { fields: [[RAX, 0xffffffffn]] });
  add('kernel64', 'DR7.GD', '0f 21 f0', { fields: [[F.dr7, 0x2400n]] });
  add('kernel64', 'DR0 not canonical', '0f 23 c0', { fields: [[RAX, NOT_CANONICAL]] });
  const data = BigInt(At.data0 + 0x100);
  for (const [what, dr7, code] of [
    ['write breakpoint, written', 0x10401n | (3n << 18n), '88 03'],
    ['write breakpoint, read', 0x10401n | (3n << 18n), '8a 03'],
    ['access breakpoint, read', 0x30401n | (3n << 18n), '8a 03'],
    ['access breakpoint of 4, last byte', 0x30401n | (3n << 18n), '8a 43 03'],
    ['access breakpoint of 4, past it', 0x30401n | (3n << 18n), '8a 43 04'],
    ['access breakpoint of 1, wide read over it', 0x30401n, '48 8b 43 fc'],
    ['disabled breakpoint', 0x30400n, '8a 03'],
  ] as [string, bigint, string][])
    add('kernel64', what, code, {
      fields: [
        [F.dr0, data],
        [F.dr7, dr7],
        [RBX, data],
      ],
    });
  add('kernel64', 'instruction breakpoint', '90', {
    fields: [
      [F.dr0, BigInt(At.code0 + CODE_OFFSET)],
      [F.dr7, 0x401n],
    ],
  });
  add('kernel64', 'instruction breakpoint with RF', '90', {
    fields: [
      [F.dr0, BigInt(At.code0 + CODE_OFFSET)],
      [F.dr7, 0x401n],
      [F.rflags, 0x10002n],
    ],
  });
  for (const [what, code] of [
    ['NOP', '90'],
    ['PUSHFQ', '9c'],
    ['MOV SS', '8e d0'],
    ['INT3', 'cc'],
    ['UD2', '0f 0b'],
    ['SYSCALL', '0f 05'],
    ['INT 80h', 'cd 80'],
  ])
    for (const start of ['kernel64', 'user64'])
      if (what !== 'MOV SS')
        add(start, `single step over ${what}`, code, { fields: [[F.rflags, 0x302n]], targets: [] });
}

function descriptorTables(): void {
  const data = BigInt(At.data0 + 0x200);
  const memory = (b: bigint, l: number): Patch =>
    at(At.data0 + 0x200, Uint8Array.from([...words(2, BigInt(l)), ...words(8, b)]));
  for (const [name, reg] of [
    ['SGDT', '03'],
    ['SIDT', '0b'],
    ['LGDT', '13'],
    ['LIDT', '1b'],
  ])
    for (const start of ['kernel64', 'kernel32', 'user64']) {
      if (start === 'user64' && name[0] === 'S') continue; // UMIP decides
      add(start, name, `0f 01 ${reg}`, { fields: [[RBX, data]], patches: [memory(0x1234_5678_1000n, 0x3f7)] });
      add(start, `${name} not canonical`, `0f 01 ${reg}`, {
        fields: [[RBX, data]],
        patches: [memory(NOT_CANONICAL, 0x10)],
      });
      add(start, `${name} with 66`, `66 0f 01 ${reg}`, {
        fields: [[RBX, data]],
        patches: [memory(0xffff_ffff_9234_5678n, 0x11)],
      });
      add(start, `${name} unmapped`, `0f 01 ${reg}`, { fields: [[RBX, 0x300000n]] });
    }
  const selectors = [
    0,
    3,
    Sel.ldt,
    Sel.ldt | 3,
    Sel.data,
    Sel.tss,
    Sel.freeTss,
    Sel.code64,
    Sel.callGate,
    0x108,
    0x07,
    Sel.ldt | 4,
  ];
  for (const s of selectors)
    for (const start of ['kernel64', 'user64', 'kernel32']) {
      add(start, `LLDT ${hex(s)}`, '0f 00 d0', { fields: [[RAX, BigInt(s)]] });
      add(start, `LTR ${hex(s)}`, '0f 00 d8', { fields: [[RAX, BigInt(s)]] });
    }
  add('kernel64', 'LTR of an absent TSS', '0f 00 d8', {
    fields: [[RAX, BigInt(Sel.freeTss)]],
    patches: [at(At.gdt + Sel.freeTss + 5, Uint8Array.of(0x09))],
  });
  add('kernel64', 'LLDT of an absent LDT', '0f 00 d0', {
    fields: [[RAX, BigInt(Sel.ldt)]],
    patches: [at(At.gdt + Sel.ldt + 5, Uint8Array.of(0x02))],
  });
  add('kernel64', 'LTR with a bad high half', '0f 00 d8', {
    fields: [[RAX, BigInt(Sel.freeTss)]],
    patches: [at(At.gdt + Sel.freeTss + 8, words(4, 0x8000n))],
  });
  for (const [name, code] of [
    ['SLDT eax', '0f 00 c0'],
    ['SLDT rax', '48 0f 00 c0'],
    ['SLDT ax', '66 0f 00 c0'],
    ['STR eax', '0f 00 c8'],
    ['STR rax', '48 0f 00 c8'],
    ['STR to memory', '0f 00 0b'],
    ['SLDT to memory', '48 0f 00 03'],
  ])
    add('kernel64', name, code, { fields: [[RBX, data]] });
}

function msrs(): void {
  const list: [string, number, bigint[]][] = [
    ['EFER', 0xc0000080, [0xd01n, 0x501n, 0xd00n, 0xc01n, 0x901n, 0x8d01n, 1n << 40n]],
    ['STAR', 0xc0000081, [0x0123_4567_89ab_cdefn]],
    ['LSTAR', 0xc0000082, [HIGH_ALIAS + 5n, NOT_CANONICAL]],
    ['CSTAR', 0xc0000083, [HIGH_ALIAS + 5n, NOT_CANONICAL]],
    ['SFMASK', 0xc0000084, [0x3f7fd5n]],
    ['FS_BASE', 0xc0000100, [HIGH_ALIAS + 0x123n, NOT_CANONICAL]],
    ['GS_BASE', 0xc0000101, [HIGH_ALIAS + 0x123n, NOT_CANONICAL]],
    ['KERNEL_GS_BASE', 0xc0000102, [0x7fff_ffff_ffffn, NOT_CANONICAL]],
    ['TSC_AUX', 0xc0000103, [0x12345n]],
    ['PAT', 0x277, [0x0007_0406_0007_0401n, 0x0202n, 0x08n]],
    ['SYSENTER_CS', 0x174, [0x10n]],
    ['none', 0x1234_5678, [0n]],
    ['none high', 0xc0001fff, [0n]],
  ];
  for (const [name, index, values] of list) {
    for (const start of ['kernel64', 'user64']) {
      if (name !== 'EFER') add(start, `RDMSR ${name}`, '0f 32', { fields: [[RCX, BigInt(index) | (7n << 40n)]] });
    }
    for (const v of values)
      add('kernel64', `WRMSR ${name} = ${hex(v)}`, '0f 30', {
        fields: [
          [RCX, BigInt(index)],
          [RAX, (v & 0xffffffffn) | (5n << 36n)],
          [RDX, (v >> 32n) | (3n << 36n)],
        ],
      });
    add('user64', `WRMSR ${name}`, '0f 30', { fields: [[RCX, BigInt(index)]] });
  }
  for (const [a, c] of [
    [1n, 0n],
    [3n, 0n],
    [0n, 0n],
    [2n, 0n],
    [5n, 0n],
    [1n, 1n],
  ])
    add('kernel64', `XSETBV ${hex(c)} = ${hex(a)}`, '0f 01 d1', {
      fields: [
        [RAX, a],
        [RCX, c],
        [RDX, 0n],
      ],
    });
  add('user64', 'XSETBV', '0f 01 d1', {
    fields: [
      [RAX, 1n],
      [RCX, 0n],
      [RDX, 0n],
    ],
  });
  add('kernel64', 'XSETBV without OSXSAVE', '0f 01 d1', {
    fields: [
      [F.cr4, STARTS.kernel64[F.cr4] & ~0x40000n],
      [RAX, 1n],
      [RCX, 0n],
      [RDX, 0n],
    ],
  });
  add('kernel64', 'XGETBV without OSXSAVE', '0f 01 d0', {
    fields: [
      [F.cr4, STARTS.kernel64[F.cr4] & ~0x40000n],
      [RCX, 0n],
    ],
  });
  add('user64', 'XGETBV of a register that is not', '0f 01 d0', { fields: [[RCX, 5n]] });
  add('user64', 'RDTSC with TSD', '0f 31', { fields: [[F.cr4, STARTS.kernel64[F.cr4] | 4n]] });
  add('user64', 'RDTSCP with TSD', '0f 01 f9', { fields: [[F.cr4, STARTS.kernel64[F.cr4] | 4n]] });
  for (const code of ['f3 48 0f ae c0', 'f3 48 0f ae d0'])
    add('user64', 'FSGSBASE off', code, { fields: [[F.cr4, STARTS.kernel64[F.cr4] & ~0x10000n]] });
}

/** Instructions of the coprocessor and vector units under CR0.EM, CR0.TS, CR4.OSFXSR. */
function units(): void {
  const list: [string, string][] = [
    ['FLD1', 'd9 e8'],
    ['WAIT', '9b'],
    ['FNSTSW', 'df e0'],
    ['EMMS', '0f 77'],
    ['PXOR mm', '0f ef c0'],
    ['PXOR xmm', '66 0f ef c0'],
    ['ADDPS', '0f 58 c0'],
    ['LDMXCSR', '0f ae 13'],
    ['FXSAVE', '0f ae 03'],
    ['XSAVE', '0f ae 23'],
    ['CRC32', 'f2 0f 38 f1 c0'],
    ['POPCNT', 'f3 0f b8 c0'],
    ['MOVNTI', '0f c3 03'],
    ['LFENCE', '0f ae e8'],
    ['PREFETCH', '0f 18 0b'],
  ];
  const cr0 = STARTS.kernel64[F.cr0];
  for (const [name, code] of list)
    for (const [what, fields] of [
      ['TS', [[F.cr0, cr0 | 8n]]],
      ['TS without MP', [[F.cr0, (cr0 | 8n) & ~2n]]],
      ['EM', [[F.cr0, cr0 | 4n]]],
      ['EM and TS', [[F.cr0, cr0 | 12n]]],
      ['OSFXSR off', [[F.cr4, STARTS.kernel64[F.cr4] & ~0x200n]]],
      ['OSXSAVE off', [[F.cr4, STARTS.kernel64[F.cr4] & ~0x40000n]]],
    ] as [string, Fields][])
      if (!(what === 'OSFXSR off' && name === 'FXSAVE'))
        add('user64', `${name} with ${what}`, code, {
          fields: [...fields, [RBX, BigInt(At.data3 + 0x200)], [RAX, 3n], [RDX, 0n]],
          patches: [at(At.data3 + 0x200, words(4, 0x1f80n)), at(At.data3 + 0x400, new Uint8Array(64))],
        });
}

/** Every selector that means something, with the RPLs that matter. */
const SELECTORS: number[] = [
  0, 1, 3, 0x07, 0x0f, 0x17, 0x1f, 0x2f, 0x37, 0x108, 0xfff8, 0x10c,
  ...Object.values(Sel).flatMap(s => (s & 3 ? [s, s & ~3] : [s, s | 3])),
]; // biome-ignore format: a list

function segmentLoads(): void {
  for (const start of ALL) {
    for (const s of SELECTORS) {
      for (const [name, modrm] of [
        ['DS', 'd8'],
        ['SS', 'd0'],
        ['GS', 'e8'],
      ]) {
        if (start.endsWith('32') && name === 'GS' && s > 0x40) continue;
        add(start, `MOV ${name}, ${hex(s)}`, `8e ${modrm}`, { fields: [[RAX, BigInt(s)]] });
      }
      for (const [name, code] of [
        ['LAR', '0f 02 c8'],
        ['LSL', '0f 03 c8'],
        ['VERR', '0f 00 e0'],
        ['VERW', '0f 00 e8'],
      ])
        if (start === 'kernel64' || start === 'user64')
          add(start, `${name} ${hex(s)}`, code, { fields: [[RAX, BigInt(s)]] });
    }
    add(start, 'MOV CS', '8e c8', { fields: [[RAX, 0n]] });
    add(start, 'MOV segment 6', '8e f0', { fields: [[RAX, 0n]] });
  }
  for (const s of [Sel.data, Sel.userData, 0]) {
    add('kernel64', `POP FS ${hex(s)}`, '0f a1', { patches: [at(At.stack0 + 0xc00, words(8, BigInt(s)))] });
    add('user64', `POP GS ${hex(s)}`, '0f a9', { patches: [at(At.stack3 + 0xc00, words(8, BigInt(s)))] });
    add('user32', `POP DS ${hex(s)}`, '1f', { patches: [at(At.stack3 + 0xc00, words(8, BigInt(s)))] });
  }
  add('kernel64', 'accessed bit in an unwritable table page', '8e d8', {
    fields: [[RAX, BigInt(Sel.freshData)]],
    patches: [at(At.pt + 8, words(8, 0x1021n))],
  });
  add('kernel64', 'descriptor in an absent table page', '8e d8', {
    fields: [[RAX, BigInt(Sel.freshData)]],
    patches: [at(At.pt + 8, words(8, 0x1020n))],
  });
  add('kernel64', 'LDT selector without an LDT', '8e d8', {
    fields: [
      [RAX, 7n],
      [selector('ldtr'), 0n],
      [attributes('ldtr'), 0n],
      [limit('ldtr'), 0n],
      [base('ldtr'), 0n],
    ],
  });
}

function interrupts(): void {
  const vectors = [0, 3, 4, 6, 8, 13, 14, 0x20, ...Object.values(Int)];
  for (const start of ALL)
    for (const v of vectors)
      add(start, `INT ${hex(v)}`, `cd ${hex(v).padStart(2, '0')}`, {
        fields: [[F.rflags, 0xad7n | (start[0] === 'u' ? 0x200n : 0n)]],
      });
  for (const start of ALL) {
    add(start, 'INT3', 'cc');
    add(start, 'INT1', 'f1');
    add(start, 'UD2', '0f 0b');
    add(start, 'DIV by zero', 'f7 f1', { fields: [[RCX, 0n]] });
    add(start, 'page fault', '8a 03', { fields: [[RBX, 0x300123n]] });
    if (start.endsWith('64')) {
      add(start, 'non-canonical load', '8a 03', { fields: [[RBX, NOT_CANONICAL]] });
      add(start, 'non-canonical push', '50', { fields: [[RSP, NOT_CANONICAL + 8n]] });
      add(start, 'non-canonical stack load', '8a 45 00', { fields: [[5, NOT_CANONICAL]] });
    } else {
      add(start, 'INTO taken', 'ce', { fields: [[F.rflags, 0xa02n]] });
      add(start, 'INTO not taken', 'ce', { fields: [[F.rflags, 0x202n]] });
      add(start, 'BOUND', '62 03', {
        fields: [
          [RAX, 5n],
          [RBX, BigInt(At.data3)],
        ],
        patches: [at(At.data3, words(4, 6n, 9n))],
      });
    }
    add(start, 'IDT too short', 'cd 20', { fields: [[F.idtrLimit, 0x20n * 16n - 1n]] });
    add(start, 'IDT too short for #GP', 'cd 20', { fields: [[F.idtrLimit, 13n * 16n - 1n]] });
    add(start, 'IDT too short for #DF', 'cd 20', { fields: [[F.idtrLimit, 0x7fn]] });
    add(start, 'IDT not mapped', 'cd 80', { fields: [[F.idtrBase, 0x300000n]] });
    add(start, '#UD gate absent', '0f 0b', { patches: [at(At.idt + 6 * 16 + 5, Uint8Array.of(0x0e))] });
    add(start, '#DE handler segment bad', 'f7 f1', {
      fields: [[RCX, 0n]],
      patches: [at(At.idt + 2, words(2, BigInt(Sel.data)))],
    });
    add(start, '#DE and #GP handler segments bad', 'f7 f1', {
      fields: [[RCX, 0n]],
      patches: [at(At.idt + 2, words(2, BigInt(Sel.data))), at(At.idt + 13 * 16 + 2, words(2, 0n))],
    });
    add(start, '#PF whose handler segment is bad', '8a 03', {
      fields: [[RBX, 0x300123n]],
      patches: [at(At.idt + 14 * 16 + 2, words(2, 0n))],
    });
    add(start, '#PF whose handler lies in an absent page', '8a 03', {
      fields: [[RBX, 0x300123n]],
      patches: [at(At.idt + 14 * 16, words(8, ...gate64(0x300000n, Sel.code64, 0x8e)))],
    });
    for (const low of [0n, 4n, 8n, 12n, 15n])
      add(start, `INT 80 with RSP at ${low}`, 'cd 80', {
        fields: [[RSP, (start[0] === 'u' ? BigInt(At.stack3) : BigInt(At.stack0)) + 0x800n + low]],
        patches: [at(At.tss + 4, words(8, BigInt(At.stack0 + STACK_TOP) - low))],
      });
    add(start, 'RSP0 not mapped', 'cd 80', { patches: [at(At.tss + 4, words(8, 0x300ff0n))] });
    add(start, 'RSP0 not canonical', 'cd 80', { patches: [at(At.tss + 4, words(8, NOT_CANONICAL + 0x100n))] });
    add(start, 'RSP0 not mapped, #DF stack neither', 'cd 80', {
      patches: [at(At.tss + 4, words(8, 0x300ff0n)), at(At.tss + 0x34, words(8, 0x300ff0n))],
    });
  }
  add('kernel64', 'stack not mapped', 'cd 80', { fields: [[RSP, 0x300f00n]] });
  add('kernel64', 'stack not canonical', 'cd 80', { fields: [[RSP, NOT_CANONICAL + 0x100n]] });
  for (const start of ['kernel64', 'user64']) {
    for (const flags of [0x202n, 0x40202n, 0x7202n, 0x250ad7n & ~0x20000n])
      add(start, `INT 80 with flags ${hex(flags)}`, 'cd 80', { fields: [[F.rflags, flags & ~0x100n]] });
    add(start, 'PUSHFQ', '9c', { fields: [[F.rflags, 0x43ad7n & ~0x100n]] });
    for (const iopl of [0n, 0x3000n])
      for (const v of [0xffffffffffffffffn & ~0x100n, 0n, 0x7202n, 0x3000n])
        for (const [name, code] of [
          ['POPFQ', '9d'],
          ['POPF', '66 9d'],
        ])
          add(start, `${name} ${hex(v)} with IOPL ${iopl >> 12n}`, code, {
            fields: [[F.rflags, iopl | 0x202n]],
            patches: [at((start[0] === 'u' ? At.stack3 : At.stack0) + 0xc00, words(8, v))],
          });
  }
}

function returns(): void {
  const user = BigInt(At.code3 + 0x700);
  const kernel = BigInt(At.code0 + 0x700);
  const stackUser = BigInt(At.stack3 + 0x500);
  const stackKernel = BigInt(At.stack0 + 0x500);
  const frame = (start: string, size: number, ...values: bigint[]): Patch =>
    at(
      (start[0] === 'u' ? At.stack3 : At.stack0) + 0xc00,
      words(size, ...values.map(v => BigInt.asUintN(size * 8, v))),
    );
  const codes = [...new Set([...SELECTORS.filter(s => s < 0x100 || s === 0x108), Sel.code64, Sel.userCode64])];
  for (const start of ['kernel64', 'user64', 'kernel32', 'user32'] as const) {
    const is64 = start.endsWith('64');
    for (const cs of codes) {
      const toUser = (cs & 3) === 3;
      const rip = toUser ? user : kernel;
      const rsp = toUser ? stackUser : stackKernel;
      const ss = BigInt(toUser ? Sel.userData : Sel.data);
      for (const [name, code, size] of is64
        ? ([
            ['IRETQ', '48 cf', 8],
            ['RETFQ', '48 cb', 8],
          ] as const)
        : ([
            ['IRETD', 'cf', 4],
            ['RETFD', 'cb', 4],
          ] as const)) {
        const values = name.startsWith('IRET') ? [rip, BigInt(cs), 0x40a57n, rsp, ss] : [rip, BigInt(cs), rsp, ss];
        add(start, `${name} to ${hex(cs)}`, code, { patches: [frame(start, size, ...values)], targets: [rip] });
      }
      if (cs < 0x40) {
        add(start, `JMP far to ${hex(cs)}`, 'ff 2b', {
          fields: [[RBX, BigInt(At.data3)]],
          patches: [at(At.data3, Uint8Array.from([...words(4, rip), ...words(2, BigInt(cs))]))],
          targets: [rip],
        });
      }
      add(start, `CALL far to ${hex(cs)}`, 'ff 1b', {
        fields: [[RBX, BigInt(At.data3)]],
        patches: [at(At.data3, Uint8Array.from([...words(4, rip), ...words(2, BigInt(cs))]))],
        targets: [rip],
      });
    }
    if (!is64) continue;
    const size = 8;
    for (const ss of [
      0,
      3,
      Sel.userData,
      Sel.userData & ~3,
      Sel.data,
      Sel.absentData,
      Sel.absentData | 3,
      Sel.readOnly,
      Sel.userCode64,
      0x07,
      0x0f,
      0x2f,
      0x108,
    ])
      for (const cs of [Sel.code64, Sel.userCode64, Sel.userCode32]) {
        const rip = cs & 3 ? user : kernel;
        add(start, `IRETQ to ${hex(cs)} with SS ${hex(ss)}`, '48 cf', {
          patches: [frame(start, size, rip, BigInt(cs), 0x202n, stackUser, BigInt(ss))],
          targets: [rip],
        });
      }
    const own = start === 'user64' ? Sel.userCode64 : Sel.code64;
    const ownRip = start === 'user64' ? user : kernel;
    const ownSs = BigInt(start === 'user64' ? Sel.userData : Sel.data);
    for (const flags of [0n, 2n, 0xffffffffffffffffn & ~0x100n, 0x7202n, 0x4002n, 0x20202n, 0x10002n, 0x1a0002n])
      for (const iopl of [0n, 0x3000n])
        add(start, `IRETQ flags ${hex(flags)} with IOPL ${iopl >> 12n}`, '48 cf', {
          fields: [[F.rflags, 0x202n | iopl]],
          patches: [frame(start, 8, ownRip, BigInt(own), flags, stackUser, ownSs)],
          targets: [ownRip],
        });
    add(start, 'IRETQ with NT', '48 cf', {
      fields: [[F.rflags, 0x4202n]],
      patches: [frame(start, 8, ownRip, BigInt(own), 2n, stackUser, ownSs)],
    });
    add(start, 'IRETD', 'cf', {
      patches: [frame(start, 4, ownRip, BigInt(own), 0x202n, stackUser, ownSs)],
      targets: [ownRip],
    });
    add(start, 'IRETW', '66 cf', {
      patches: [frame(start, 2, ownRip, BigInt(own), 0x202n, stackUser, ownSs)],
      targets: [ownRip],
    });
    add(start, 'RETFQ imm', '48 ca 18 00', { patches: [frame(start, 8, ownRip, BigInt(own))], targets: [ownRip] });
    add(start, 'RETFQ imm outwards', '48 ca 18 00', {
      patches: [frame(start, 8, user, BigInt(Sel.userCode64), 0n, 0n, 0n, stackUser, BigInt(Sel.userData))],
      targets: [user],
    });
    add(start, 'IRETQ stack not mapped', '48 cf', { fields: [[RSP, 0x300000n]] });
    add(start, 'IRETQ stack not canonical', '48 cf', { fields: [[RSP, NOT_CANONICAL]] });
    add(start, 'IRETQ frame across an absent page', '48 cf', {
      fields: [[RSP, 0x1fff0n]],
      patches: [at(0x1fff0, words(8, ownRip, BigInt(own)))],
    });
  }
  for (const [s, t] of [
    [Sel.userData, 'data'],
    [Sel.data, 'kernel data'],
  ] as [number, string][])
    add('kernel64', `outward IRETQ leaves DS with ${t}`, '48 cf', {
      fields: [
        [selector('ds'), BigInt(s)],
        [attributes('ds'), s === Sel.data ? 0xc093n : 0xc0f3n],
      ],
      patches: [frame('kernel64', 8, user, BigInt(Sel.userCode64), 0x202n, stackUser, BigInt(Sel.userData))],
      targets: [user],
    });
  // SYSCALL and SYSRET
  for (const start of ALL)
    for (const flags of [0x202n, 0x40ad7n & ~0x100n, 0x3202n])
      add(start, `SYSCALL with flags ${hex(flags)}`, '0f 05', { fields: [[F.rflags, flags]] });
  for (const start of ALL)
    add(start, 'SYSCALL off', '0f 05', { fields: [[F.efer, STARTS.kernel64[F.efer] & ~EFER.SCE]] });
  for (const star of [0x0000_0000_0000_0000n, 0x0013_0013_0000_0000n, 0xfff3_fff0_0000_0000n]) {
    add('user64', `SYSCALL with STAR ${hex(star)}`, '0f 05', { fields: [[msr('star'), star]] });
    add('kernel64', `SYSRETQ with STAR ${hex(star)}`, '48 0f 07', {
      fields: [
        [msr('star'), star],
        [RCX, user],
        [R11, 0x202n],
      ],
      targets: [user],
    });
  }
  for (const flags of [0x202n, 0n, 0xffffffffffffffffn & ~0x100n, 0x10202n, 0x20202n])
    for (const [name, code] of [
      ['SYSRETQ', '48 0f 07'],
      ['SYSRETD', '0f 07'],
    ])
      add('kernel64', `${name} with flags ${hex(flags)}`, code, {
        fields: [
          [RCX, user],
          [R11, flags],
        ],
        targets: [user],
      });
  add('kernel64', 'SYSRETD cuts RIP', '0f 07', {
    fields: [
      [RCX, user | (1n << 33n)],
      [R11, 0x202n],
    ],
    targets: [user],
  });
  add('user64', 'SYSRET', '48 0f 07');
  add('kernel64', 'SYSRET off', '48 0f 07', {
    fields: [
      [F.efer, STARTS.kernel64[F.efer] & ~EFER.SCE],
      [RCX, user],
    ],
  });
  // near branches to where there is nothing
  for (const start of ['kernel64', 'user64'])
    for (const [name, code] of [
      ['JMP', 'ff e0'],
      ['CALL', 'ff d0'],
      ['RET', 'c3'],
    ])
      add(start, `${name} to an absent page`, code, {
        fields: [[RAX, 0x300010n]],
        patches: [frame(start, 8, 0x300010n)],
      });
}

const PAGE = { P: 1n, W: 2n, U: 4n, A: 0x20n, D: 0x40n, PS: 0x80n, G: 0x100n, NX: 1n << 63n } as const;

function paging(): void {
  const entry = (table: number, index: number, value: bigint): Patch => at(table + index * 8, words(8, value));
  const frames: [string, bigint][] = [];
  for (const p of [0n, PAGE.P])
    for (const w of [0n, PAGE.W])
      for (const u of [0n, PAGE.U])
        for (const more of [0n, PAGE.NX, PAGE.A, PAGE.A | PAGE.D, 1n << 51n, 0x1ffn << 52n]) {
          if (p === 0n && more !== 0n && more !== PAGE.NX) continue;
          const name = `${p ? 'P' : ''}${w ? 'W' : ''}${u ? 'U' : ''} ${hex(more)}`;
          frames.push([name, BigInt(At.data0) | p | w | u | more]);
        }
  const accesses: [string, string][] = [
    ['read', '8a 03'],
    ['write', '88 03'],
    ['read and write', '00 03'],
    ['execute', 'ff e3'],
    ['push', 'ff 33'],
  ];
  const cr0 = STARTS.kernel64[F.cr0];
  const cr4 = STARTS.kernel64[F.cr4];
  const settings: [string, Fields][] = [
    ['', []],
    ['WP off', [[F.cr0, cr0 & ~0x10000n]]],
    ['SMEP', [[F.cr4, cr4 | 0x100000n]]],
    ['SMAP', [[F.cr4, cr4 | 0x200000n]]],
    [
      'SMAP and AC',
      [
        [F.cr4, cr4 | 0x200000n],
        [F.rflags, 0x40002n],
      ],
    ],
    ['NXE off', [[F.efer, STARTS.kernel64[F.efer] & ~EFER.NXE]]],
  ];
  const halts = at(At.data0, new Uint8Array(16).fill(0xf4));
  for (const [frame, value] of frames)
    for (const [access, code] of accesses)
      for (const start of ['kernel64', 'user64'])
        for (const [setting, fields] of settings) {
          if (start === 'user64' && setting !== '' && setting !== 'NXE off') continue;
          if (access === 'push' && setting !== '') continue;
          if (setting === 'SMEP' && access !== 'execute') continue;
          if (setting === 'NXE off' && !(value & PAGE.NX)) continue;
          if (setting !== '' && (value & 0xfffn & ~7n || value >> 51n === 1n)) continue;
          const both: Fields = [...fields, [RBX, TEST_LINEAR]];
          if (start === 'user64' && fields.some(([f]) => f === F.rflags)) continue;
          add(start, `${access} ${frame} ${setting}`, code, {
            fields: both,
            patches: [entry(At.ptTest, 0, value), halts],
            targets: [TEST_LINEAR],
          });
        }
  // the levels above
  const good = BigInt(At.data0) | PAGE.P | PAGE.W | PAGE.U;
  const levels: [string, number, number, bigint][] = [
    ['PDE', At.pd, 1, BigInt(At.ptTest)],
    ['PDPTE', At.pdpt, 1, BigInt(At.pd)],
    ['PML4E', At.pml4, 2, BigInt(At.pdpt)],
  ];
  for (const [level, table, index, next] of levels) {
    const linear =
      level === 'PDE' ? TEST_LINEAR : level === 'PDPTE' ? (1n << 30n) + TEST_LINEAR : (2n << 39n) + TEST_LINEAR;
    for (const bits of [
      0n,
      PAGE.P,
      PAGE.P | PAGE.W,
      PAGE.P | PAGE.U,
      PAGE.P | PAGE.W | PAGE.U,
      PAGE.P | PAGE.W | PAGE.U | PAGE.NX,
      PAGE.P | PAGE.W | PAGE.U | (1n << 51n),
      PAGE.P | PAGE.W | PAGE.U | PAGE.A,
    ])
      for (const [access, code] of accesses.slice(0, 4))
        for (const start of ['kernel64', 'user64'])
          add(start, `${access} under ${level} ${hex(bits)}`, code, {
            fields: [[RBX, linear]],
            patches: [entry(At.ptTest, 0, good), entry(table, index, next | bits), halts],
            targets: [linear],
          });
    if (level === 'PML4E')
      add('kernel64', 'PML4E with PS', '8a 03', {
        fields: [[RBX, linear]],
        patches: [entry(table, index, next | 0x87n)],
      });
  }
  for (const bits of [0x83n, 0x87n, 0x81n, 0x1087n, 0x2087n, 0x100087n, 0x87n | PAGE.NX, 0xe7n, 0x187n])
    for (const [access, code] of accesses.slice(0, 4))
      for (const start of ['kernel64', 'user64']) {
        const linear = TEST_LINEAR + BigInt(At.data0);
        add(start, `${access} in a 2 MiB page ${hex(bits)}`, code, {
          fields: [[RBX, linear]],
          patches: [entry(At.pd, 1, bits), halts],
          targets: [linear],
        });
      }
  for (const bits of [0x87n, 0x40087n, 0x1087n])
    add('kernel64', `read in a 1 GiB page ${hex(bits)}`, '8a 03', {
      fields: [[RBX, (1n << 30n) + BigInt(At.data0)]],
      patches: [entry(At.pdpt, 1, bits)],
    });
  // across pages
  for (const [second, value] of [
    ['absent', 0n],
    ['read-only', BigInt(At.data0 + 0x1000) | PAGE.P | PAGE.U],
    ['good', good],
  ] as [string, bigint][])
    for (const [access, code] of [
      ['read', '48 8b 03'],
      ['write', '48 89 03'],
      ['read and write', '48 01 03'],
      ['locked', 'f0 48 01 03'],
      ['SSE read', '0f 10 03'],
      ['SSE write', '0f 11 03'],
    ])
      for (const start of ['kernel64', 'user64'])
        add(start, `${access} into a ${second} page`, code, {
          fields: [[RBX, TEST_LINEAR + 0xffdn]],
          patches: [entry(At.ptTest, 0, good), entry(At.ptTest, 1, value)],
        });
  add('kernel64', 'code across into an absent page', '90', {
    fields: [[F.rip, TEST_LINEAR + 0xffen]],
    patches: [entry(At.ptTest, 0, good), at(At.data0 + 0xffe, Uint8Array.of(0x48, 0x8b))],
  });
  add('kernel64', 'code across two pages', '90', {
    fields: [
      [F.rip, TEST_LINEAR + 0xffen],
      [RBX, BigInt(At.data0)],
    ],
    patches: [
      entry(At.ptTest, 0, good),
      entry(At.ptTest, 1, BigInt(At.data0 + 0x1000) | 7n),
      at(At.data0 + 0xffe, Uint8Array.of(0x48, 0x8b, 0x03, 0xf4)),
    ],
  });
  for (const start of ['kernel64', 'user64']) {
    for (const flags of [0x40202n, 0x202n])
      for (const [what, code] of [
        ['word', '66 8b 03'],
        ['dword', '8b 03'],
        ['qword', '48 8b 03'],
        ['byte', '8a 03'],
        ['SSE', '0f 10 03'],
        ['push', 'ff 33'],
        ['x87', 'dd 03'],
      ])
        add(start, `unaligned ${what} with flags ${hex(flags)}`, code, {
          fields: [
            [RBX, BigInt(At.data3 + 0x101)],
            [F.rflags, flags],
          ],
        });
  }
}

/** All cases. */
export function systemCases(): SystemCase[] {
  if (cases.length === 0) {
    controlRegisters();
    debugRegisters();
    descriptorTables();
    msrs();
    units();
    segmentLoads();
    interrupts();
    returns();
    paging();
  }
  return cases;
}
