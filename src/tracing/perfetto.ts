// A trace for Perfetto's viewer (ui.perfetto.dev): track events in its protobuf format. A domain is a track, its vCPUs are tracks below it with
// what they do as instants within the slices in which they run; arrows lead from an event that is sent to where it arrives.
// Source: perfetto.dev/docs/reference/synthetic-track-event; protos/perfetto/trace/trace_packet.proto, track_event/*.proto, interned_data.proto.
import { ProtobufWriter } from '../util/protobuf.ts';
import type { TraceRecord, TraceSink, TraceWriter } from './record.ts';
import type { Fields, Value } from './value.ts';

const TRACE = { packet: 1 } as const;
const PACKET = {
  timestamp: 8, trustedPacketSequenceId: 10, trackEvent: 11, internedData: 12, sequenceFlags: 13, trackDescriptor: 60,
} as const; // biome-ignore format: field numbers
const SEQUENCE = { cleared: 1, needsState: 2 } as const;
const TRACK = { uuid: 1, name: 2, parentUuid: 5 } as const;
const EVENT = {
  categoryIids: 3, debugAnnotations: 4, type: 9, nameIid: 10, trackUuid: 11, flowIds: 47, terminatingFlowIds: 48,
} as const; // biome-ignore format: field numbers
const TYPE = { sliceBegin: 1, sliceEnd: 2, instant: 3 } as const;
const INTERNED = { eventCategories: 1, eventNames: 2, debugAnnotationNames: 3 } as const;
const NAMED = { iid: 1, name: 2 } as const;
const ANNOTATION = { nameIid: 1, uint: 3, string: 6, pointer: 7, dictEntries: 11, arrayValues: 12 } as const;

/** All is written by one. */
const SEQUENCE_ID = 1;
const CHUNK = 1 << 16;

/** Numbers that stand for strings from the packet on that introduces them. */
class Interned {
  readonly field: number;
  private readonly ids = new Map<string, number>();
  readonly fresh: Array<readonly [id: number, text: string]> = [];

  constructor(field: number) {
    this.field = field;
  }

  id(text: string): number {
    let id = this.ids.get(text);
    if (id === undefined) {
      id = this.ids.size + 1;
      this.ids.set(text, id);
      this.fresh.push([id, text]);
    }
    return id;
  }
}

export class PerfettoTrace implements TraceWriter {
  private readonly sink: TraceSink;
  private readonly out = new ProtobufWriter();
  private readonly categories = new Interned(INTERNED.eventCategories);
  private readonly names = new Interned(INTERNED.eventNames);
  private readonly annotations = new Interned(INTERNED.debugAnnotationNames);
  private readonly tracks = new Map<string, number>();
  private isFirst = true;

  constructor(sink: TraceSink) {
    this.sink = sink;
  }

  write(record: TraceRecord): void {
    const track = this.trackOf(record);
    this.packet(() => {
      this.out.varint(PACKET.timestamp, record.timeNs);
      this.intern(record);
      this.out.message(PACKET.trackEvent, () => this.event(record, track));
    });
    if (this.out.length >= CHUNK) this.sink(this.out.take());
  }

  end(): void {
    if (this.out.length > 0) this.sink(this.out.take());
  }

  private packet(fill: () => void): void {
    const { out } = this;
    out.message(TRACE.packet, () => {
      out.varint(PACKET.trustedPacketSequenceId, SEQUENCE_ID);
      out.varint(PACKET.sequenceFlags, this.isFirst ? SEQUENCE.cleared | SEQUENCE.needsState : SEQUENCE.needsState);
      this.isFirst = false;
      fill();
    });
  }

  private event(record: TraceRecord, track: number): void {
    const { category, name, fields, flow, phase } = record;
    const { out } = this;
    out.varint(EVENT.type, phase === 'begin' ? TYPE.sliceBegin : phase === 'end' ? TYPE.sliceEnd : TYPE.instant);
    out.varint(EVENT.trackUuid, track);
    // The end of a slice is known by its track.
    if (phase === 'end') return;
    out.varint(EVENT.categoryIids, this.categories.id(category));
    out.varint(EVENT.nameIid, this.names.id(name));
    for (const [field, value] of fields) {
      out.message(EVENT.debugAnnotations, () => this.annotation(field, value));
    }
    if (flow) out.fixed64(flow.ends ? EVENT.terminatingFlowIds : EVENT.flowIds, BigInt(flow.id));
  }

  private annotation(name: string, value: Value): void {
    this.out.varint(ANNOTATION.nameIid, this.annotations.id(name));
    this.value(value);
  }

  private value(value: Value): void {
    const { out } = this;
    if (typeof value === 'string') out.string(ANNOTATION.string, value);
    else if (typeof value === 'bigint') out.varint(ANNOTATION.pointer, value);
    else if (typeof value === 'number') out.varint(ANNOTATION.uint, value);
    else if ('fields' in value) this.dictionary(value);
    else for (const element of value) out.message(ANNOTATION.arrayValues, () => this.value(element));
  }

  private dictionary({ fields }: Fields): void {
    for (const [name, value] of fields) {
      this.out.message(ANNOTATION.dictEntries, () => this.annotation(name, value));
    }
  }

  /** Strings have to be introduced before they are used, or in the same packet. */
  private intern({ category, name, fields, phase }: TraceRecord): void {
    if (phase !== 'end') {
      this.categories.id(category);
      this.names.id(name);
      for (const [field, value] of fields) this.internNames(field, value);
    }
    const { out } = this;
    const kinds = [this.categories, this.names, this.annotations];
    if (kinds.every(({ fresh }) => fresh.length === 0)) return;
    out.message(PACKET.internedData, () => {
      for (const { field, fresh } of kinds) {
        for (const [id, text] of fresh) {
          out.message(field, () => {
            out.varint(NAMED.iid, id);
            out.string(NAMED.name, text);
          });
        }
        fresh.length = 0;
      }
    });
  }

  private internNames(name: string, value: Value): void {
    if (name !== '') this.annotations.id(name);
    if (typeof value !== 'object') return;
    if ('fields' in value) for (const [inner, field] of value.fields) this.internNames(inner, field);
    else for (const element of value) this.internNames('', element);
  }

  /** The track of a vCPU, or of a domain for what is the matter of no vCPU; described where it first appears. */
  private trackOf({ domain, vcpu }: TraceRecord): number {
    const name = domain === null ? 'host' : `d${domain}`;
    const parent = this.track(name, null);
    return vcpu === null ? parent : this.track(`${name}v${vcpu}`, parent);
  }

  private track(name: string, parent: number | null): number {
    const known = this.tracks.get(name);
    if (known !== undefined) return known;
    const uuid = this.tracks.size + 1;
    this.tracks.set(name, uuid);
    this.packet(() => {
      this.out.message(PACKET.trackDescriptor, () => {
        this.out.varint(TRACK.uuid, uuid);
        this.out.string(TRACK.name, name);
        if (parent !== null) this.out.varint(TRACK.parentUuid, parent);
      });
    });
    return uuid;
  }
}
