/**
 * The back end of a PV disk, as xen-blkback and QEMU's are: features, size, queues. Sources: xen/include/public/io/blkif.h,
 * drivers/block/xen-blkfront.c in Linux (what front ends ask for). What a guest has flushed is on the medium.
 *
 * Not offered: SCSI packets, secure discards.
 */
import type { Abi } from '../../abi/struct.ts';
import { VDISK } from '../../abi/xen/io/blkif.ts';
import { BLKIF_PROTOCOLS, BLKIF_SECTOR } from '../../protocols/blkif.ts';
import { type BackendDriver, FrontendError, type FrontendNodes } from '../xenbus/backend-device.ts';
import type { FrontendDomain } from '../xenbus/frontend-domain.ts';
import { BlkbackQueue, type QueueNodes, type QueueOwner } from './blkback-queue.ts';
import { MAX_INDIRECT_SEGMENTS } from './blkback-request.ts';
import type { BlockSource } from './source.ts';

const MAX_REF = 0xffffffff;
const MAX_PORT = 0x1ffff;
const MOST_LINES = 20;
/** Sixteen pages a ring. */
const MAX_RING_PAGE_ORDER = 4;

export interface BlkbackOptions {
  readonly domain: FrontendDomain;
  /** Not closed by the back end: it may serve again. */
  readonly source: BlockSource;
  /** Of a front end that does not say which it uses. */
  readonly abi: Abi;
  readonly isReadOnly: boolean;
  readonly isCdrom?: boolean;
  readonly isRemovable?: boolean;
  /** Tells the guest that it may discard, where the source can. Default true. */
  readonly discard?: boolean;
  /** Queues that the front end may have: default 1. */
  readonly maxQueues?: number;
  readonly later: (handler: () => void) => void;
  readonly log?: (line: string) => void;
  /** The front end does not keep to the protocol; BackendDevice.fail() is to be called. */
  readonly broken: (reason: string) => void;
}

export class Blkback implements BackendDriver {
  private readonly options: BlkbackOptions;
  private readonly isReadOnly: boolean;
  private readonly mayDiscard: boolean;
  private readonly maxQueues: number;
  private queues: BlkbackQueue[] = [];
  private lines = 0;

  constructor(options: BlkbackOptions) {
    const { source, isReadOnly, discard = true, maxQueues = 1 } = options;
    this.options = options;
    this.isReadOnly = isReadOnly || source.isReadOnly;
    this.mayDiscard = discard && source.canDiscard && !this.isReadOnly;
    this.maxQueues = maxQueues;
  }

  features(): Record<string, string> {
    const { sectorSize } = this.options.source;
    const discards = {
      'feature-discard': '1',
      'discard-granularity': String(sectorSize),
      'discard-alignment': '0',
      'discard-secure': '0',
    };
    return {
      ...(this.mayDiscard ? discards : {}),
      'feature-flush-cache': '1',
      'feature-barrier': '1',
      'feature-persistent': '1',
      'feature-max-indirect-segments': String(MAX_INDIRECT_SEGMENTS),
      'max-ring-page-order': String(MAX_RING_PAGE_ORDER),
      'multi-queue-max-queues': String(this.maxQueues),
      info: String(this.info),
      'sector-size': String(sectorSize),
      'physical-sector-size': String(sectorSize),
      ...this.size(),
    };
  }

  /** The node that tells the size, also when it has changed. */
  size(): Record<string, string> {
    return { sectors: String(this.options.source.size / BLKIF_SECTOR) };
  }

  connect(front: FrontendNodes): Record<string, string> {
    const count = front.number('multi-queue-num-queues', this.maxQueues, 1);
    if (count === 0) throw new FrontendError('no queues');
    const abi = this.abiOf(front.text('protocol'));
    const isPersistent = front.flag('feature-persistent');
    const order = front.number('ring-page-order', MAX_RING_PAGE_ORDER, 0);
    const owner = this.owner();
    for (let n = 0; n < count; n++) {
      const at = count === 1 ? '' : `queue-${n}/`;
      const nodes: QueueNodes = {
        refs: ringRefs(front, at, order),
        port: front.number(`${at}event-channel`, MAX_PORT),
        abi,
        isPersistent,
      };
      this.queues.push(new BlkbackQueue(this.options.domain, nodes, owner));
    }
    return this.size();
  }

  disconnect(): void {
    for (const queue of this.queues.splice(0)) queue.close();
  }

  private get info(): number {
    const { isCdrom, isRemovable } = this.options;
    return (isCdrom ? VDISK.cdrom : 0) | (isRemovable ? VDISK.removable : 0) | (this.isReadOnly ? VDISK.readonly : 0);
  }

  private abiOf(protocol: string | undefined): Abi {
    if (protocol === undefined) return this.options.abi;
    const abi = BLKIF_PROTOCOLS[protocol];
    if (abi === undefined) throw new FrontendError(`unknown protocol ${protocol.slice(0, 20)}`);
    return abi;
  }

  /** A guest can have a medium fail as often as it likes. */
  private log(line: string): void {
    if (++this.lines <= MOST_LINES) this.options.log?.(line);
  }

  private owner(): QueueOwner {
    const { source, later, broken } = this.options;
    const { isReadOnly, mayDiscard } = this;
    return { source, isReadOnly, mayDiscard, later, log: line => this.log(line), broken };
  }
}

/** One page's grant stands in ring-ref; several in ring-ref0, ring-ref1, and so on. */
function ringRefs(front: FrontendNodes, at: string, order: number): number[] {
  const isOne = order === 0 && front.text(`${at}ring-ref0`) === undefined;
  if (isOne) return [front.number(`${at}ring-ref`, MAX_REF)];
  return Array.from({ length: 1 << order }, (_, i) => front.number(`${at}ring-ref${i}`, MAX_REF));
}
