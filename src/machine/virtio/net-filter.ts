// Which frames a card lets through to its driver, by destination (virtio 1.2, 5.1.6.5.1 and 5.1.6.5.2).
import type { Saveable } from '../chip.ts';

/** Commands of VIRTIO_NET_CTRL_RX, each turning one mode on or off. */
const MODES = ['promiscuous', 'allMulticast', 'allUnicast', 'noMulticast', 'noUnicast', 'noBroadcast'] as const;
type Mode = (typeof MODES)[number];

export interface FilterState {
  modes: Mode[];
  /** Addresses as numbers, beside the card's own. */
  unicast: number[];
  multicast: number[];
}

const ADDRESS = 6;
/** Entries of a table; one with more lets everything of its kind through. */
const MAX_ENTRIES = 64;
const BROADCAST = 0xffff_ffff_ffff;

export class ReceiveFilter implements Saveable<FilterState> {
  /** The card's address, where the card keeps it. */
  private readonly own: Uint8Array;
  private modes = new Set<Mode>();
  private unicast = new Set<number>();
  private multicast = new Set<number>();

  constructor(own: Uint8Array) {
    this.own = own;
    this.reset();
  }

  /** Everything comes through until the driver says what it wants. */
  reset(): void {
    this.modes = new Set(['promiscuous']);
    this.unicast = new Set();
    this.multicast = new Set();
  }

  /** False for a command that there is not. */
  setMode(command: number, isOn: boolean): boolean {
    const mode = MODES[command];
    if (mode === undefined) return false;
    if (isOn) this.modes.add(mode);
    else this.modes.delete(mode);
    return true;
  }

  /** Two tables, each a 32-bit number of addresses and the addresses. False where they are cut off; nothing changes then. */
  setTables(data: Uint8Array): boolean {
    const unicast = readTable(data, 0);
    const multicast = unicast && readTable(data, unicast.end);
    if (!multicast) return false;
    this.unicast = new Set(unicast.addresses);
    this.multicast = new Set(multicast.addresses);
    return true;
  }

  accepts(frame: Uint8Array): boolean {
    const { modes } = this;
    if (modes.has('promiscuous')) return true;
    const to = addressAt(frame, 0);
    if (to === BROADCAST) return !modes.has('noBroadcast');
    if (frame[0] & 1) {
      if (modes.has('noMulticast')) return false;
      return modes.has('allMulticast') || this.multicast.size > MAX_ENTRIES || this.multicast.has(to);
    }
    if (modes.has('noUnicast')) return false;
    if (modes.has('allUnicast') || to === addressAt(this.own, 0)) return true;
    return this.unicast.size > MAX_ENTRIES || this.unicast.has(to);
  }

  save(): FilterState {
    return { modes: [...this.modes], unicast: [...this.unicast], multicast: [...this.multicast] };
  }

  load(state: FilterState): void {
    this.modes = new Set(state.modes);
    this.unicast = new Set(state.unicast);
    this.multicast = new Set(state.multicast);
  }
}

/** 48 bits fit a number. */
function addressAt(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let i = 0; i < ADDRESS; i++) value = value * 256 + (bytes[at + i] ?? 0);
  return value;
}

function readTable(data: Uint8Array, at: number): { addresses: number[]; end: number } | null {
  if (at + 4 > data.length) return null;
  const count = new DataView(data.buffer, data.byteOffset).getUint32(at, true);
  const end = at + 4 + count * ADDRESS;
  if (end > data.length) return null;
  const addresses = Array.from({ length: count }, (_, i) => addressAt(data, at + 4 + i * ADDRESS));
  return { addresses, end };
}
