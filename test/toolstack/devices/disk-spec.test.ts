import { describe, expect, it } from 'vitest';
import { assignVdevs, DiskSpecError, parseDisk, scratchSize } from '../../../src/toolstack/devices/disk-spec.ts';
import { parseVdev, xvdName } from '../../../src/toolstack/devices/vdev.ts';

describe('parseDisk', () => {
  const plain = {
    vdev: null,
    isReadOnly: false,
    isCdrom: false,
    discard: null,
    format: 'raw',
    isOverlay: false,
    overlayFile: null,
  };
  const xvda = { name: 'xvda', number: 51712 };

  it.each([
    ['disk.img', { ...plain, target: 'disk.img' }],
    ['disk.img,ro', { ...plain, target: 'disk.img', isReadOnly: true }],
    ['disk.img,xvda', { ...plain, target: 'disk.img', vdev: xvda }],
    ['/dev/vg/guest-volume,,xvda', { ...plain, target: '/dev/vg/guest-volume', vdev: xvda }],
    ['/dev/vg/guest-volume,raw,xvda,rw', { ...plain, target: '/dev/vg/guest-volume', vdev: xvda }],
    [
      'format=raw, vdev=xvda, access=ro, target=/a,b.img',
      { ...plain, target: '/a,b.img', vdev: xvda, isReadOnly: true },
    ],
    ['vdev=xvda,format=raw,target=a=b', { ...plain, target: 'a=b', vdev: xvda }],
    ['image.iso,raw,xvda:cdrom', { ...plain, target: 'image.iso', vdev: xvda, isCdrom: true, isReadOnly: true }],
    ['vdev=xvda,devtype=cdrom,target=', { ...plain, target: '', vdev: xvda, isCdrom: true, isReadOnly: true }],
    ['disk.img,no-discard,backendtype=qdisk', { ...plain, target: 'disk.img', discard: false }],
    ['disk.img,discard,overlay', { ...plain, target: 'disk.img', discard: true, isOverlay: true }],
    ['disk.img,overlay=day.qcow2', { ...plain, target: 'disk.img', overlayFile: 'day.qcow2' }],
    ['disk.qcow2,qcow2', { ...plain, target: 'disk.qcow2', format: 'qcow2' }],
    ['format=qcow2,vdev=xvda,target=a', { ...plain, target: 'a', format: 'qcow2', vdev: xvda }],
    ['disk.qcow2,raw', { ...plain, target: 'disk.qcow2' }],
    ['phy:/dev/sdb,xvda,w', { ...plain, target: '/dev/sdb', vdev: xvda }],
    ['https://example.org/a?b=c', { ...plain, target: 'https://example.org/a?b=c' }],
  ])('reads %s', (text, expected) => {
    expect(parseDisk(text)).toEqual({ text, ...expected });
  });

  it.each([
    '',
    'disk.img,vhd',
    'disk.qcow2',
    'disk.img,overlay=',
    'disk.img,format=tape',
    'disk.img,xvda,xvdb',
    'disk.img,nonsense',
    'disk.img,access=maybe',
    'disk.img,vdev=xvd',
    'disk.img,script=block-iscsi',
    'disk.img,colour=red',
    'disk.img,devtype=tape',
  ])('refuses "%s" with a sentence', text => {
    expect(() => parseDisk(text)).toThrow(DiskSpecError);
  });
});

describe('virtual disks', () => {
  it.each([
    ['xvda', 51712],
    ['xvda1', 51713],
    ['xvdp15', 51967],
    ['xvdq', 268439552],
    ['xvdq1', 268439553],
    ['xvdaa', 268442112],
    ['xvda16', 268435472],
    ['sda', 2048],
    ['sdp15', 2303],
    ['hda', 768],
    ['hdb1', 833],
    ['hdc', 5632],
    ['d0', 51712],
    ['d536p37', 268572709],
  ])('%s is %i', (name, number) => {
    expect(parseVdev(name)).toEqual({ name, number });
  });

  it.each(['', 'xvd', 'xvda0', 'xvdA', 'sdq', 'hde', 'vda', 'd', 'xvda1234', 'xvdzzzzz', '51712'])(
    '"%s" is none',
    name => {
      expect(parseVdev(name)).toBeNull();
    },
  );

  it('have names in order', () => {
    expect([0, 1, 25, 26, 27, 701, 702].map(xvdName)).toEqual([
      'xvda',
      'xvdb',
      'xvdz',
      'xvdaa',
      'xvdab',
      'xvdzz',
      'xvdaaa',
    ]);
    for (let i = 0; i < 2000; i += 7) expect(parseVdev(xvdName(i))).not.toBeNull();
  });
});

describe('disks of one machine', () => {
  it('get the names that are free', () => {
    const names = (...texts: string[]): string[] => assignVdevs(texts.map(parseDisk)).map(({ name }) => name);
    expect(names('a', 'b,xvda', 'c', 'd,sda')).toEqual(['xvdb', 'xvda', 'xvdc', 'sda']);
    expect(() => names('a,xvda', 'b,d0')).toThrow('two disks are d0');
  });

  it('may be in memory', () => {
    expect(['scratch:64M', 'scratch:1K', 'scratch:2G', 'scratch:5', 'scratch', 'file'].map(scratchSize)).toEqual([
      67108864,
      1024,
      2147483648,
      null,
      null,
      null,
    ]);
  });
});
