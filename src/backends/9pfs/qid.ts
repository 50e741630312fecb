// What identifies a file to a 9P client, from what the host's file system says of it.
import { QID_TYPE, type Qid } from '../../protocols/p9.ts';
import { type FileStat, S_IFDIR, S_IFLNK, S_IFMT } from './shared-folder.ts';

export function qidType(mode: number): number {
  const kind = mode & S_IFMT;
  if (kind === S_IFDIR) return QID_TYPE.directory;
  return kind === S_IFLNK ? QID_TYPE.link : QID_TYPE.file;
}

/** Gives qids: files of several file systems below one folder are told apart by the order in which these were met. */
export function qids(): (stat: FileStat) => Qid {
  const devices = new Map<bigint, bigint>();
  return ({ device, inode, mode, modifiedNs, size }) => {
    let index = devices.get(device);
    if (index === undefined) devices.set(device, (index = BigInt(devices.size)));
    const version = Number(BigInt.asUintN(32, (modifiedNs / 1000n) ^ (size << 8n)));
    return { type: qidType(mode), version, path: BigInt.asUintN(64, inode ^ (index << 56n)) };
  };
}
