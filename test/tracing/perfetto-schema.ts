// The part of Perfetto's trace format that this program writes, and a reader that accepts nothing else. Field numbers and types:
// protos/perfetto/trace/trace_packet.proto, track_event/{track_event,track_descriptor,debug_annotation}.proto, interned_data/interned_data.proto.

type Scalar = 'uint64' | 'uint32' | 'enum' | 'fixed64' | 'string';
interface Field {
  readonly name: string;
  readonly type: Scalar | keyof typeof MESSAGES;
  readonly repeated?: true;
}

const MESSAGES = {
  Trace: { 1: { name: 'packet', type: 'TracePacket', repeated: true } },
  TracePacket: {
    8: { name: 'timestamp', type: 'uint64' },
    10: { name: 'trustedPacketSequenceId', type: 'uint32' },
    11: { name: 'trackEvent', type: 'TrackEvent' },
    12: { name: 'internedData', type: 'InternedData' },
    13: { name: 'sequenceFlags', type: 'uint32' },
    60: { name: 'trackDescriptor', type: 'TrackDescriptor' },
  },
  TrackDescriptor: {
    1: { name: 'uuid', type: 'uint64' },
    2: { name: 'name', type: 'string' },
    5: { name: 'parentUuid', type: 'uint64' },
  },
  TrackEvent: {
    3: { name: 'categoryIids', type: 'uint64', repeated: true },
    4: { name: 'debugAnnotations', type: 'DebugAnnotation', repeated: true },
    9: { name: 'type', type: 'enum' },
    10: { name: 'nameIid', type: 'uint64' },
    11: { name: 'trackUuid', type: 'uint64' },
    47: { name: 'flowIds', type: 'fixed64', repeated: true },
    48: { name: 'terminatingFlowIds', type: 'fixed64', repeated: true },
  },
  DebugAnnotation: {
    1: { name: 'nameIid', type: 'uint64' },
    3: { name: 'uintValue', type: 'uint64' },
    6: { name: 'stringValue', type: 'string' },
    7: { name: 'pointerValue', type: 'uint64' },
    11: { name: 'dictEntries', type: 'DebugAnnotation', repeated: true },
    12: { name: 'arrayValues', type: 'DebugAnnotation', repeated: true },
  },
  InternedData: {
    1: { name: 'eventCategories', type: 'Named', repeated: true },
    2: { name: 'eventNames', type: 'Named', repeated: true },
    3: { name: 'debugAnnotationNames', type: 'Named', repeated: true },
  },
  Named: { 1: { name: 'iid', type: 'uint64' }, 2: { name: 'name', type: 'string' } },
} as const satisfies Record<string, Record<number, { name: string; type: string; repeated?: true }>>;

const WIRE_TYPES: Readonly<Record<number, readonly string[]>> = {
  0: ['uint64', 'uint32', 'enum'],
  1: ['fixed64'],
  2: ['string', ...Object.keys(MESSAGES)],
};

// biome-ignore lint/suspicious/noExplicitAny: a message is what its schema says
export type Message = Record<string, any>;

/** Reads a message. Throws where a field is not in the schema, has another wire type, or comes again without being repeated. */
export function readMessage(type: keyof typeof MESSAGES, bytes: Uint8Array): Message {
  const message: Message = {};
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = view.getUint8(at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const field = (MESSAGES[type] as Record<number, Field>)[tag >> 3];
    if (!field) throw new Error(`${type} has no field ${tag >> 3}`);
    if (!WIRE_TYPES[tag & 7]?.includes(field.type)) throw new Error(`${type}.${field.name} has wire type ${tag & 7}`);
    let value: unknown;
    if ((tag & 7) === 0) value = varint();
    else if ((tag & 7) === 1) {
      value = view.getBigUint64(at, true);
      at += 8;
    } else {
      const length = Number(varint());
      if (at + length > bytes.length) throw new Error(`${type}.${field.name} is cut off`);
      const part = bytes.subarray(at, at + length);
      at += length;
      value =
        field.type === 'string'
          ? new TextDecoder('utf-8', { fatal: true }).decode(part)
          : readMessage(field.type as keyof typeof MESSAGES, part);
    }
    if (field.repeated) (message[field.name] ??= []).push(value);
    else if (field.name in message) throw new Error(`${type}.${field.name} twice`);
    else message[field.name] = value;
  }
  return message;
}

export interface TrackEvent {
  readonly time: bigint;
  readonly track: string;
  readonly type: 'begin' | 'end' | 'instant';
  readonly category: string | null;
  readonly name: string | null;
  readonly arguments: Record<string, unknown>;
  readonly flows: readonly bigint[];
  readonly endingFlows: readonly bigint[];
}

const EVENT_TYPES: Readonly<Record<number, TrackEvent['type']>> = { 1: 'begin', 2: 'end', 3: 'instant' };

/**
 * A whole trace as a viewer reads it. Throws where it breaks a rule of the format: interned strings and tracks before their use, state cleared
 * at the start of the sequence, time that goes back, slices without a begin or an end, flows that end without a beginning.
 */
export function readTrace(bytes: Uint8Array): TrackEvent[] {
  const interned = { eventCategories: new Map(), eventNames: new Map(), debugAnnotationNames: new Map() };
  const tracks = new Map<bigint, string>();
  const open = new Map<string, number>();
  const flows = new Set<bigint>();
  const events: TrackEvent[] = [];
  let time = 0n;
  const known = (map: Map<bigint, string>, id: bigint): string => {
    const text = map.get(id);
    if (text === undefined) throw new Error(`${id} was not introduced`);
    return text;
  };
  const value = (annotation: Message): unknown => {
    if (annotation.dictEntries) return dictionary(annotation.dictEntries);
    if (annotation.arrayValues) return annotation.arrayValues.map(value);
    return annotation.stringValue ?? annotation.uintValue ?? annotation.pointerValue ?? null;
  };
  const dictionary = (entries: Message[]): Record<string, unknown> =>
    Object.fromEntries(entries.map(entry => [known(interned.debugAnnotationNames, entry.nameIid), value(entry)]));

  readMessage('Trace', bytes).packet.forEach((packet: Message, i: number) => {
    if (packet.trustedPacketSequenceId === undefined) throw new Error('a packet of no sequence');
    const cleared = (Number(packet.sequenceFlags) & 1) !== 0;
    if (cleared !== (i === 0)) throw new Error('the state is cleared by the first packet, and no other');
    for (const [kind, map] of Object.entries(interned)) {
      for (const { iid, name } of packet.internedData?.[kind] ?? []) map.set(iid, name);
    }
    const track = packet.trackDescriptor;
    if (track) {
      if (tracks.has(track.uuid) || track.uuid === 0n) throw new Error(`track ${track.uuid} twice`);
      if (track.parentUuid !== undefined) known(tracks, track.parentUuid);
      tracks.set(track.uuid, track.name);
    }
    const event = packet.trackEvent;
    if (!event) return;
    if (packet.timestamp < time) throw new Error('time goes back');
    time = packet.timestamp;
    const on = known(tracks, event.trackUuid);
    const type = EVENT_TYPES[Number(event.type)];
    if (type === 'begin') open.set(on, (open.get(on) ?? 0) + 1);
    if (type === 'end') {
      if (!open.get(on)) throw new Error(`a slice of ${on} ends that never began`);
      open.set(on, open.get(on)! - 1);
    }
    for (const flow of event.flowIds ?? []) flows.add(flow);
    for (const flow of event.terminatingFlowIds ?? []) {
      if (!flows.delete(flow)) throw new Error(`flow ${flow} ends that never began`);
    }
    events.push({
      time,
      track: on,
      type,
      category: event.categoryIids ? known(interned.eventCategories, event.categoryIids[0]) : null,
      name: event.nameIid === undefined ? null : known(interned.eventNames, event.nameIid),
      arguments: dictionary(event.debugAnnotations ?? []),
      flows: event.flowIds ?? [],
      endingFlows: event.terminatingFlowIds ?? [],
    });
  });
  for (const [track, count] of open) if (count > 0) throw new Error(`a slice of ${track} never ends`);
  return events;
}
