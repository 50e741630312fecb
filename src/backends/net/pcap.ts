// Frames of a port in a file that tcpdump and Wireshark read. Source: the pcap format with nanoseconds, draft-ietf-opsawg-pcap.
import { type Frame, MAX_FRAME, type NetworkDevice, type NetworkPort } from './link.ts';

const MAGIC_NANOSECONDS = 0xa1b23c4d;
const LINKTYPE_ETHERNET = 1;
const NS = 1_000_000_000n;

/** Writes a capture to `sink`, piece by piece. Unfinished frames are recorded as they are, as tcpdump shows them on a sending machine. */
export class PcapWriter {
  readonly #sink: (bytes: Uint8Array) => void;
  readonly #nowNs: () => bigint;

  /** @param nowNs nanoseconds since 1970 */
  constructor(sink: (bytes: Uint8Array) => void, nowNs: () => bigint) {
    this.#sink = sink;
    this.#nowNs = nowNs;
    const header = new DataView(new ArrayBuffer(24));
    header.setUint32(0, MAGIC_NANOSECONDS, true);
    header.setUint16(4, 2, true);
    header.setUint16(6, 4, true);
    header.setUint32(16, MAX_FRAME, true);
    header.setUint32(20, LINKTYPE_ETHERNET, true);
    sink(new Uint8Array(header.buffer));
  }

  write(frame: Uint8Array): void {
    const captured = Math.min(frame.length, MAX_FRAME);
    const record = new Uint8Array(16 + captured);
    const header = new DataView(record.buffer);
    const now = this.#nowNs();
    header.setUint32(0, Number(now / NS), true);
    header.setUint32(4, Number(now % NS), true);
    header.setUint32(8, captured, true);
    header.setUint32(12, frame.length, true);
    record.set(frame.subarray(0, captured), 16);
    this.#sink(record);
  }
}

/** The port, with everything that its device sends and takes written to `capture`. */
export function tapPort(port: NetworkPort, capture: PcapWriter): NetworkPort {
  return {
    mtu: port.mtu,
    send: frame => {
      capture.write(frame.bytes);
      port.send(frame);
    },
    attach: device => port.attach(device && tapDevice(device, capture)),
    resume: () => port.resume(),
  };
}

function tapDevice(device: NetworkDevice, capture: PcapWriter): NetworkDevice {
  return {
    get accepts() {
      return device.accepts;
    },
    receive: (frame: Frame) => {
      const isTaken = device.receive(frame);
      if (isTaken) capture.write(frame.bytes);
      return isTaken;
    },
  };
}
