// Names of virtual disks and the numbers that guests know them by. Source: docs/man/xen-vbd-interface.7.pandoc.

export interface Vdev {
  /** As the person wrote it: xvda, sdb2, hdc, d0p1. */
  readonly name: string;
  /** The device's name in XenStore. */
  readonly number: number;
}

const XVD_MAJOR = 202;
const SD_MAJOR = 8;
const HD_MAJORS = [3, 22];
const EXTENDED = 1 << 28;
const EXTENDED_DISKS = 1 << 20;
const EXTENDED_PARTITIONS = 1 << 8;

/** Null for what is no name of a virtual disk. */
export function parseVdev(name: string): Vdev | null {
  const number = numberOf(name);
  return number === null ? null : { name, number };
}

/** xvda for 0, xvdb for 1, … xvdz, xvdaa. */
export function xvdName(disk: number): string {
  let letters = '';
  for (let rest = disk; rest >= 0; rest = Math.floor(rest / 26) - 1)
    letters = String.fromCharCode(97 + (rest % 26)) + letters;
  return `xvd${letters}`;
}

function numberOf(name: string): number | null {
  const plain = /^d(\d{1,7})(?:p(\d{1,3}))?$/.exec(name);
  if (plain) return xvd(Number(plain[1]), Number(plain[2] ?? 0));
  const match = /^(xvd|sd|hd)([a-z]{1,4})([1-9]\d{0,2})?$/.exec(name);
  if (!match) return null;
  const disk = [...match[2]].reduce((sum, letter) => sum * 26 + letter.charCodeAt(0) - 96, 0) - 1;
  const partition = Number(match[3] ?? 0);
  if (match[1] === 'xvd') return xvd(disk, partition);
  if (match[1] === 'sd') return disk < 16 && partition < 16 ? (SD_MAJOR << 8) | (disk * 16 + partition) : null;
  return disk < 4 && partition < 64 ? (HD_MAJORS[disk >> 1] << 8) | ((disk & 1) * 64 + partition) : null;
}

/** Disks beyond those of the old block device numbers have a scheme of their own. */
function xvd(disk: number, partition: number): number | null {
  if (disk < 16 && partition < 16) return (XVD_MAJOR << 8) | (disk * 16 + partition);
  if (disk >= EXTENDED_DISKS || partition >= EXTENDED_PARTITIONS) return null;
  return EXTENDED | (disk << 8) | partition;
}
