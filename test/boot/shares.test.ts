// Folders of this machine in stock kernels: Linux's own 9p client over Xen's rings, and over virtio on a bare machine.
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { domzero, scratchPath } from './domzero.ts';
import { shellInitramfs } from './initramfs.ts';
import { testWith } from './kernels.ts';
import { outputOf, scriptInitramfs } from './script-initramfs.ts';

const MODULES = { xen: ['9pnet', '9pnet_xen', '9p'], virtio: ['virtio_pci', '9pnet', '9pnet_virtio', '9p'] } as const;

function folder(): string {
  const path = scratchPath('folder');
  mkdirSync(join(path, 'a/b'), { recursive: true });
  writeFileSync(join(path, 'a/file'), 'hello\n');
  symlinkSync('/etc/hostname', join(path, 'link'));
  return path;
}

describe.concurrent('a shared folder', { timeout: 600_000 }, () => {
  for (const mode of ['pv', 'pvh', 'pvhvm', 'native', 'dom0'] as const) {
    testWith('generic', `is read and written in mode ${mode}`, async kernel => {
      const [writable, readable] = [folder(), folder()];
      const transport = mode === 'native' || mode === 'dom0' ? 'virtio' : 'xen';
      const options = `trans=${transport},version=9p2000.L`;
      const commands = [
        `mkdir /w /r; mount -t 9p -o ${options} work /w; mount -t 9p -o ${options},msize=262144 share1 /r`,
        'cat /r/a/file; readlink /r/link; cat /r/link; echo x > /r/new; rm /r/a/file; ls /r',
        'dd if=/dev/zero bs=100k count=10 | tr "\\0" x > /w/a/b/x; mv /w/a/b/x /w/a/y; chmod 640 /w/a/y; md5sum < /w/a/y',
        'cd /w; for i in $(seq 200); do echo $i > f$i; done; ls | wc -l; rm f?*; ln -s a/y z; ln a/y w; cat z | wc -c; sync',
        'umount /w; umount /r',
      ];
      const initrd = await scriptInitramfs(kernel, commands, { modules: MODULES[transport] });
      const { status, out } = await domzero([
        ...['run', ...kernel, '--mode', mode, '--initrd', scratchPath('share.cpio', initrd)],
        ...['--share', `tag=work,path=${writable},security_model=none,access=rw`, '--share', readable],
        ...['--clock', 'virtual', '--append', 'quiet', '--timeout', '500'],
      ]);
      const output = (command: number) => outputOf(out, command);
      expect(output(0)).toEqual({ lines: [], status: 0 });
      const refused = output(1).lines;
      expect(refused.slice(0, 2)).toEqual(['hello', '/etc/hostname']);
      expect(refused.slice(2, -2).join('\n')).toMatch(
        /'\/r\/link'.*No such file[\s\S]*\/r\/new: Read-only file system[\s\S]*'\/r\/a\/file': Read-only file system/,
      );
      expect(refused.slice(-2)).toEqual(['a', 'link']);
      expect(output(2).lines.at(-1)).toMatch(/^[0-9a-f]{32} {2}-$/);
      expect(output(3)).toEqual({ lines: ['202', '1024000'], status: 0 });
      expect(output(4)).toEqual({ lines: [], status: 0 });
      expect(readFileSync(join(writable, 'w')).equals(Buffer.alloc(1_024_000, 'x'))).toBe(true);
      expect(readFileSync(join(readable, 'a/file'), 'utf8')).toBe('hello\n');
      expect(status).toBe(0);
    });
  }

  testWith('generic', 'is mounted by the built-in init for a command', async (kernel, context) => {
    const initrd = shellInitramfs(context, 'true');
    const { status, out } = await domzero([
      ...['run', ...kernel, '--mode', 'pvh', '--initrd', initrd, '--share', folder()],
      ...['--', 'sh', '-c', 'cat /share0/a/file; echo x > /share0/x || exit 3'],
    ]);
    expect(out).toContain('hello');
    expect(status).toBe(3);
  });
});
