// Routines of init that read the kernel's files and report them. Conventions: lines.ts.
import {
  type Assembler,
  addr,
  al,
  byte,
  cl,
  eax,
  edx,
  mem,
  qword,
  r12,
  r13,
  rax,
  rbp,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
  rsp,
  word,
} from './assembler/assembler.ts';
import { text } from './lines.ts';
import { EINTR, ENOENT, O_DIRECTORY, sys } from './syscalls.ts';

/** Room for one file; what is longer is read up to here. Bytes. */
export const CONTENT_ROOM = 64 << 10;
const DIRENTS_ROOM = 16 << 10;
const PATH_ROOM = 1024;

export function fileRoutines(a: Assembler) {
  readFile(a);
  stringLength(a);
  copyString(a);
  putKey(a);
  reportStatus(a);
  reportValue(a);
  reportFile(a);
  reportField(a);
  reportFileList(a);
  reportDirectory(a);
  startsWith(a);
  lineLength(a);
  a.section('bss');
  a.label('content').reserve(CONTENT_ROOM + 1);
  a.label('dirents').reserve(DIRENTS_ROOM);
  a.label('path').reserve(PATH_ROOM).label('key').reserve(PATH_ROOM);
  a.section('text');
}

/**
 * read_file(path, buffer, room): the file's length, or a negative errno. A zero follows what was read, so the buffer
 * needs one byte more than `room`.
 */
function readFile(a: Assembler) {
  a.label('read_file').push(rbx).push(rbp).push(r12).push(r13);
  a.mov(rbx, rsi).mov(rbp, rdx).xor(eax, eax).mov(r13, rax);
  sys(a, 'open', undefined, 0, 0);
  a.test(rax, rax).js('.end').mov(r12, rax);
  a.label('.more').mov(rdx, rbp).sub(rdx, r13).je('.close').lea(rsi, mem(rbx, r13));
  sys(a, 'read', r12, undefined, undefined);
  a.cmp(rax, -EINTR).je('.more').test(rax, rax).je('.close').js('.failed').add(r13, rax).jmp('.more');
  // An error after some bytes ends the file; one at its start is the answer.
  a.label('.failed').test(r13, r13).jne('.close').mov(r13, rax);
  a.label('.close');
  sys(a, 'close', r12);
  a.mov(rax, r13).test(rax, rax).js('.end').mov(byte(rbx, rax), 0);
  a.label('.end').pop(r13).pop(r12).pop(rbp).pop(rbx).ret();
}

/** string_length(text): without the zero at its end. */
function stringLength(a: Assembler) {
  a.label('string_length').or(rax, -1);
  a.label('.next').inc(rax).cmp(byte(rdi, rax), 0).jne('.next').ret();
}

/** copy_string(to, from): with its zero; where that zero stands, so that the next string can be appended. */
function copyString(a: Assembler) {
  a.label('copy_string');
  a.label('.next').mov(al, byte(rsi)).mov(byte(rdi), al).test(al, al).je('.end').inc(rdi).inc(rsi).jmp('.next');
  a.label('.end').mov(rax, rdi).ret();
}

/** put_key(key): begins a line and appends an escaped zero-terminated key. */
function putKey(a: Assembler) {
  a.label('put_key').push(rdi).call('begin_line').mov(rdi, qword(rsp)).call('string_length');
  a.pop(rdi).mov(rsi, rax).jmp('put_escaped');
}

/** report_status(key, result): `key = result`, or `key ! errno` when it is negative. */
function reportStatus(a: Assembler) {
  a.label('report_status').push(rbx).mov(rbx, rsi).call('put_key').test(rbx, rbx).js('.error');
  text(a, ' = ');
  a.jmp('.number').label('.error');
  text(a, ' ! ');
  a.neg(rbx).label('.number').mov(rdi, rbx).call('put_number').pop(rbx).jmp('end_line');
}

/** report_value(key, bytes, length): `key = bytes`. */
function reportValue(a: Assembler) {
  a.label('report_value').push(rbx).push(rbp).mov(rbx, rsi).mov(rbp, rdx).call('put_key');
  text(a, ' = ');
  a.mov(rdi, rbx).mov(rsi, rbp).call('put_escaped').pop(rbp).pop(rbx).jmp('end_line');
}

/** report_file(key, path): its content without the final newline, or the error. */
function reportFile(a: Assembler) {
  a.label('report_file').push(rbx).mov(rbx, rdi).mov(rdi, rsi).lea(rsi, mem('content')).mov(edx, CONTENT_ROOM);
  a.call('read_file').mov(rsi, rax).test(rax, rax).js('.error');
  a.mov(rdx, rax).lea(rsi, mem('content'));
  a.test(rdx, rdx)
    .je('.report')
    .cmp(byte({ base: rsi, index: rdx, displacement: -1 }), 10)
    .jne('.report')
    .dec(rdx);
  a.label('.report').mov(rdi, rbx).pop(rbx).jmp('report_value');
  a.label('.error').mov(rdi, rbx).pop(rbx).jmp('report_status');
}

/** starts_with(text, prefix): the text after the prefix, or 0. */
function startsWith(a: Assembler) {
  a.label('starts_with');
  a.label('.next').mov(al, byte(rsi)).test(al, al).je('.yes').cmp(byte(rdi), al).jne('.no');
  a.inc(rdi).inc(rsi).jmp('.next');
  a.label('.yes').mov(rax, rdi).ret();
  a.label('.no').xor(eax, eax).ret();
}

/** line_length(text): up to the newline or zero. */
function lineLength(a: Assembler) {
  a.label('line_length').xor(eax, eax);
  a.label('.next').mov(cl, byte(rdi, rax)).cmp(cl, 10).je('.end').test(cl, cl).je('.end').inc(rax).jmp('.next');
  a.label('.end').ret();
}

/** report_field(key, path, name): what stands after `name` and a colon in the file's first line that starts so. */
function reportField(a: Assembler) {
  a.label('report_field').push(rbx).push(rbp).mov(rbx, rdi).mov(rbp, rdx);
  a.mov(rdi, rsi).lea(rsi, mem('content')).mov(edx, CONTENT_ROOM).call('read_file');
  a.mov(rsi, rax).test(rax, rax).js('.error').lea(rdx, mem('content'));
  a.label('.line').mov(rdi, rdx).mov(rsi, rbp).call('starts_with').test(rax, rax).jne('.found');
  a.mov(rdi, rdx).call('line_length').add(rdx, rax).cmp(byte(rdx), 0).lea(rdx, mem(rdx, 1)).jne('.line');
  a.mov(rsi, -ENOENT);
  a.label('.error').mov(rdi, rbx).pop(rbp).pop(rbx).jmp('report_status');
  a.label('.found').mov(rdi, rax);
  a.label('.space').mov(al, byte(rdi)).cmp(al, 0x20).je('.skip').cmp(al, 9).je('.skip').cmp(al, 0x3a).jne('.value');
  a.label('.skip').inc(rdi).jmp('.space');
  a.label('.value').call('line_length').mov(rdx, rax).mov(rsi, rdi).mov(rdi, rbx);
  a.pop(rbp).pop(rbx).jmp('report_value');
}

/** report_files(list): report_file for each pair of a list that ends with a zero. */
function reportFileList(a: Assembler) {
  a.label('report_files').push(rbx).mov(rbx, rdi);
  a.label('.next').mov(rdi, qword(rbx)).test(rdi, rdi).je('.end').mov(rsi, qword(rbx, 8)).add(rbx, 16);
  a.call('report_file').jmp('.next');
  a.label('.end').pop(rbx).ret();
}

/** A list for report_files: [key, path]. */
export function fileList(a: Assembler, label: string, files: ReadonlyArray<readonly [key: string, path: string]>) {
  a.section('data').align(8).label(label);
  for (const [key, path] of files) a.dq(addr(a.literal(key)), addr(a.literal(path)));
  a.dq(0).section('text');
}

/** What report_directory takes: for each directory in `path`, these files of it are reported as `key/NAME/FILE`. */
export function directory(a: Assembler, label: string, key: string, path: string, files: readonly string[]) {
  a.section('data').align(8).label(label);
  for (const part of [key, path, ...files]) a.dq(addr(a.literal(part)));
  a.dq(0).section('text');
}

/** Offsets in struct linux_dirent64 (include/linux/dirent.h). */
const D_RECLEN = 16;
const D_NAME = 19;

/** report_directory(description): see `directory`. */
function reportDirectory(a: Assembler) {
  a.label('report_directory').push(rbx).push(rbp).push(r12).push(r13).sub(rsp, 16).mov(rbx, rdi);
  a.mov(rdi, qword(rbx, 8));
  sys(a, 'open', undefined, O_DIRECTORY, 0);
  a.mov(r12, rax).test(rax, rax).jns('.fill').mov(rdi, qword(rbx)).mov(rsi, rax).call('report_status').jmp('.end');
  a.label('.fill');
  sys(a, 'getdents64', r12, mem('dirents'), DIRENTS_ROOM);
  a.test(rax, rax).jle('.close').lea(r13, mem('dirents')).lea(rbp, mem(r13, rax));
  a.label('.entry').cmp(r13, rbp).jae('.fill').cmp(byte(r13, D_NAME), 0x2e).je('.skip');
  a.lea(rax, mem(rbx, 16)).mov(qword(rsp), rax);
  a.label('.file').mov(rax, qword(rsp)).mov(rcx, qword(rax)).test(rcx, rcx).je('.skip').lea(rdx, mem(r13, D_NAME));
  a.lea(rdi, mem('key')).mov(rsi, qword(rbx)).call('join_path');
  a.lea(rdi, mem('path')).mov(rsi, qword(rbx, 8)).call('join_path');
  a.lea(rdi, mem('key')).lea(rsi, mem('path')).call('report_file').add(qword(rsp), 8).jmp('.file');
  a.label('.skip').movzx(eax, word(r13, D_RECLEN)).add(r13, rax).jmp('.entry');
  a.label('.close');
  sys(a, 'close', r12);
  a.label('.end').add(rsp, 16).pop(r13).pop(r12).pop(rbp).pop(rbx).ret();

  // join_path(to, first, second, third in RCX): with slashes between. Leaves RCX and RDX alone.
  a.label('join_path').call('copy_string').mov(byte(rax), 0x2f).lea(rdi, mem(rax, 1)).mov(rsi, rdx);
  a.call('copy_string').mov(byte(rax), 0x2f).lea(rdi, mem(rax, 1)).mov(rsi, rcx).jmp('copy_string');
}
