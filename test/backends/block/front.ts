// A disk's front end in a few lines, on a domain that is not one: requests as blkfront makes them, in either ABI.
import { type Abi, member } from '../../../src/abi/struct.ts';
import {
  BLKIF_OP,
  blkifRequest,
  blkifRequestDiscard,
  blkifRequestIndirect,
  blkifRequestSegment,
  blkifResponse,
} from '../../../src/abi/xen/io/blkif.ts';
import { Blkback, type BlkbackOptions } from '../../../src/backends/block/blkback.ts';
import { MemorySource } from '../../../src/backends/block/memory-source.ts';
import type { FrontendNodes } from '../../../src/backends/xenbus/backend-device.ts';
import { FrontendError } from '../../../src/backends/xenbus/backend-device.ts';
import { HostEvents } from '../../../src/machine/host-events.ts';
import { blkifEntrySize } from '../../../src/protocols/blkif.ts';
import { FrontRing } from '../../../src/protocols/ring.ts';
import { sharedPage } from '../../../src/protocols/shared-page.ts';
import { viewOf } from '../../../src/util/bytes.ts';
import { FakeDomain } from '../net/netback/front.ts';

export const PORT = 5;
const FIRST_RING_REF = 8;
const FIRST_DATA_REF = 100;

export interface Segment {
  gref: number;
  firstSect: number;
  lastSect: number;
}

export interface Answer {
  id: bigint;
  operation: number;
  status: number;
}

/** Nodes of a front end, from a plain object. */
export function nodesOf(nodes: Record<string, string>): FrontendNodes {
  return {
    text: name => nodes[name],
    number: (name, max, absent) => {
      const text = nodes[name];
      if (text === undefined && absent !== undefined) return absent;
      if (!/^\d{1,10}$/.test(text ?? '') || Number(text) > max) throw new FrontendError(`reading ${name}`);
      return Number(text);
    },
    flag: name => nodes[name] === '1',
  };
}

export class Front {
  readonly domain = new FakeDomain();
  readonly events = new HostEvents();
  readonly log: string[] = [];
  readonly complaints: string[] = [];
  readonly back: Blkback;
  readonly nodes: Record<string, string> = { 'event-channel': String(PORT) };
  readonly abi: Abi;
  readonly rings: FrontRing[] = [];
  readonly ringPages: Uint8Array[] = [];
  private nextId = 1n;
  private nextRef = FIRST_DATA_REF;

  constructor(options: Partial<BlkbackOptions> = {}, abi: Abi = 64, pages = 1) {
    this.abi = abi;
    this.back = new Blkback({
      domain: this.domain,
      source: new MemorySource({ size: 1 << 20 }),
      abi: 64,
      isReadOnly: false,
      later: handler => this.events.raise(handler),
      log: line => void this.log.push(line),
      broken: reason => {
        this.complaints.push(reason);
        this.back.disconnect();
      },
      ...options,
    });
    if (abi === 32) this.nodes.protocol = 'x86_32-abi';
    if (pages > 1) this.nodes['ring-page-order'] = String(Math.log2(pages));
    this.addRing('', pages);
  }

  /** Another queue's ring; its nodes stand under `at`. */
  addRing(at: string, pages: number): void {
    const refs = Array.from({ length: pages }, (_, i) => FIRST_RING_REF + 16 * this.rings.length + i);
    const memory = refs.map(ref => this.domain.grant(ref));
    refs.forEach((ref, i) => {
      this.nodes[`${at}ring-ref${pages > 1 ? i : ''}`] = String(ref);
    });
    this.ringPages.push(...memory);
    const shape = { pages: memory.map(sharedPage), entrySize: blkifEntrySize(this.abi) };
    this.rings.push(new FrontRing(shape));
  }

  connect(): Record<string, string> {
    const nodes = this.back.connect(nodesOf(this.nodes));
    this.events.deliver();
    return nodes;
  }

  /** A granted page with this content. */
  page(bytes?: Uint8Array, readonly = false): number {
    const ref = this.nextRef++;
    this.domain.grant(ref, undefined, readonly).set(bytes ?? []);
    return ref;
  }

  bytes(ref: number): Uint8Array {
    return this.domain.pages.get(ref)!.bytes;
  }

  /** Puts a request of any kind on the ring; returns its id. */
  put(write: (view: DataView, id: bigint) => void, ring = 0): bigint {
    const id = this.nextId++;
    const entry = new Uint8Array(blkifEntrySize(this.abi));
    write(viewOf(entry), id);
    if (!this.rings[ring].request(entry)) throw new Error('the ring is full');
    return id;
  }

  transfer(operation: number, sector: number | bigint, segments: readonly Segment[], ring = 0): bigint {
    const value = { operation, nrSegments: segments.length, handle: 0, sectorNumber: BigInt(sector) };
    return this.put((view, id) => {
      blkifRequest.update(view, 0, { ...value, id, seg: [...segments] }, this.abi);
    }, ring);
  }

  indirect(operation: number, sector: number, segments: readonly Segment[], refs?: number[]): bigint {
    const pages = refs ?? [];
    if (!refs) {
      for (let at = 0; at < segments.length; at += 512) {
        const ref = this.page(undefined, true);
        const view = viewOf(this.bytes(ref));
        segments.slice(at, at + 512).forEach((segment, i) => {
          blkifRequestSegment.write(view, 8 * i, segment, 64);
        });
        pages.push(ref);
      }
    }
    return this.put((view, id) => {
      const value = { operation: BLKIF_OP.indirect, indirectOp: operation, nrSegments: segments.length, id };
      blkifRequestIndirect.update(view, 0, { ...value, sectorNumber: BigInt(sector), indirectGrefs: pages }, this.abi);
    });
  }

  discard(sector: number | bigint, sectors: number | bigint, flag = 0): bigint {
    return this.put((view, id) => {
      const value = { operation: BLKIF_OP.discard, flag, id, sectorNumber: BigInt(sector), nrSectors: BigInt(sectors) };
      blkifRequestDiscard.update(view, 0, member(value), this.abi);
    });
  }

  /** Shows what was put on the ring, and tells if the back end wants to know. */
  push(ring = 0): void {
    if (this.rings[ring].push()) this.domain.send(PORT + ring);
  }

  answers(ring = 0): Answer[] {
    const answers: Answer[] = [];
    while (this.rings[ring].waiting > 0) {
      answers.push(blkifResponse.read(viewOf(this.rings[ring].take()), 0, this.abi));
    }
    this.rings[ring].askForNext();
    return answers;
  }

  /** Pushes, and gives the status of the one answer. */
  status(): number | undefined {
    this.push();
    const answers = this.answers();
    return answers.length === 1 ? answers[0].status : undefined;
  }
}
