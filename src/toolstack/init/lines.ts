// Routines of init that write the report's lines (PROTOCOL.md).
// Throughout init: arguments in RDI, RSI, RDX, the result in RAX; RBX, RBP, R12 and R13 survive a call; R14D is the
// number of the last line, R15 the end of the line that is being written.
import {
  type Assembler,
  al,
  byte,
  cl,
  dl,
  eax,
  ecx,
  edi,
  edx,
  esi,
  mem,
  r8,
  r9d,
  r14d,
  r15,
  rax,
  rcx,
  rdi,
  rdx,
  rsi,
  rsp,
} from './assembler/assembler.ts';
import { CUT, FNV_OFFSET, FNV_PRIME, MARKER, VALUE_LIMIT } from './protocol.ts';
import { EAGAIN, EINTR, sys } from './syscalls.ts';

const code = (c: string) => c.charCodeAt(0);

/** Appends text that needs no escapes. */
export const text = (a: Assembler, literal: string) => a.lea(rdi, mem(a.literal(literal))).call('put_string');

/** One whole line; `body` appends to it. */
export function line(a: Assembler, body: () => void) {
  a.call('begin_line');
  body();
  a.call('end_line');
}

export function lineRoutines(a: Assembler) {
  putString(a);
  putNumber(a);
  putHex(a);
  putEscaped(a);
  beginLine(a);
  endLine(a);
  writeAll(a);
  // Keys and values are bounded; this is room for both.
  a.section('bss')
    .label('line')
    .reserve(VALUE_LIMIT + 2048)
    .section('text');
}

/** put_string(text): appends a zero-terminated string as it is. */
function putString(a: Assembler) {
  a.label('put_string');
  a.label('.next').mov(al, byte(rdi)).test(al, al).je('.end');
  a.mov(byte(r15), al).inc(r15).inc(rdi).jmp('.next');
  a.label('.end').ret();
}

/** put_number(n): appends an unsigned number in decimal. */
function putNumber(a: Assembler) {
  a.label('put_number').sub(rsp, 32).lea(rsi, mem(rsp, 32)).mov(rax, rdi).mov(ecx, 10);
  a.label('.digit').xor(edx, edx).div(rcx).add(dl, code('0')).dec(rsi).mov(byte(rsi), dl).test(rax, rax).jne('.digit');
  a.lea(rdx, mem(rsp, 32));
  a.label('.copy').mov(al, byte(rsi)).mov(byte(r15), al).inc(r15).inc(rsi).cmp(rsi, rdx).jne('.copy');
  a.add(rsp, 32).ret();
}

/** put_hex(n, digits): appends the lowest `digits` hexadecimal digits. Leaves R8 and above alone. */
function putHex(a: Assembler) {
  a.label('put_hex').lea(ecx, mem({ index: rsi, scale: 4 }));
  a.label('.digit').sub(ecx, 4).mov(eax, edi).shr(eax, cl).and(eax, 15).add(al, code('0'));
  a.cmp(al, code('9'))
    .jbe('.put')
    .add(al, code('a') - code('9') - 1);
  a.label('.put').mov(byte(r15), al).inc(r15).test(ecx, ecx).jne('.digit').ret();
}

/** put_escaped(bytes, length): appends bytes with escapes, cut where the value grows too long. */
function putEscaped(a: Assembler) {
  a.label('put_escaped').lea(r8, mem(r15, VALUE_LIMIT)).mov(rdx, rdi).add(rsi, rdi);
  a.label('.next').cmp(rdx, rsi).jae('.end').cmp(r15, r8).jae('.cut');
  a.movzx(eax, byte(rdx)).inc(rdx);
  a.cmp(al, code('\\')).je('.escape').cmp(al, 0x7e).ja('.hex').cmp(al, 0x20).jb('.control');
  a.label('.plain').mov(byte(r15), al).inc(r15).jmp('.next');
  a.label('.control').cmp(al, 10).je('.newline').cmp(al, 9).jne('.hex');
  a.mov(al, code('t')).jmp('.escape');
  a.label('.newline').mov(al, code('n'));
  a.label('.escape').mov(byte(r15), code('\\')).inc(r15).jmp('.plain');
  a.label('.hex').mov(byte(r15), code('\\')).mov(byte(r15, 1), code('x')).add(r15, 2);
  a.push(rsi).mov(edi, eax).mov(esi, 2).call('put_hex').pop(rsi).jmp('.next');
  a.label('.cut');
  for (const c of CUT) a.mov(byte(r15), code(c)).inc(r15);
  a.label('.end').ret();
}

function beginLine(a: Assembler) {
  a.label('begin_line').lea(r15, mem('line'));
  text(a, MARKER);
  a.inc(r14d).mov(edi, r14d).call('put_number').mov(byte(r15), code(' ')).inc(r15).ret();
}

/** Appends the checksum and writes the line. */
function endLine(a: Assembler) {
  a.label('end_line').lea(rsi, mem('line', MARKER.length)).mov(edi, FNV_OFFSET);
  a.label('.byte').movzx(eax, byte(rsi)).xor(edi, eax).imul(edi, edi, FNV_PRIME).inc(rsi).cmp(rsi, r15).jne('.byte');
  a.mov(eax, edi).shr(eax, 16).xor(edi, eax);
  a.mov(byte(r15), code(' ')).mov(byte(r15, 1), code('#')).add(r15, 2).mov(esi, 4).call('put_hex');
  a.mov(byte(r15), code('\n')).inc(r15);
  a.lea(rdi, mem('line')).mov(rsi, r15).sub(rsi, rdi).jmp('write_all');
}

/** write_all(bytes, length): to standard output; gives up on an error that trying again does not mend. */
function writeAll(a: Assembler) {
  a.label('write_all').mov(r8, rdi).mov(rdx, rsi);
  a.label('.more').test(rdx, rdx).je('.end');
  sys(a, 'write', 1, r8, undefined);
  a.mov(r9d, eax).cmp(rax, -EINTR).je('.more').cmp(rax, -EAGAIN).je('.more');
  a.test(rax, rax).jle('.end').add(r8, rax).sub(rdx, rax).jmp('.more');
  a.label('.end').ret();
}
