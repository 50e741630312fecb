// A hypervisor on a board with a PCI function that signals by messages, and the domain that drives it.
import { EngineMemory } from '../../../src/cpu/memory.ts';
import { CPU_MODELS } from '../../../src/cpu/models/index.ts';
import { AT, Board, PCI_HOLE } from '../../../src/machine/board.ts';
import { OWN_PLAN } from '../../../src/machine/board-plan.ts';
import { layOutMemory } from '../../../src/machine/memory-layout.ts';
import { Clock, VirtualTicks } from '../../../src/machine/time/clock.ts';
import { FakeProcessor } from '../fake-processor.ts';
import { type Guest, TestHost } from '../harness.ts';

export interface BoardHost {
  host: TestHost;
  board: Board;
  dom0: Guest;
  /** What the machine was told to do. */
  ends: string[];
}

const RAM = 16 << 20;
/** The fake processor is of no model by itself. */
const MODEL = { model: CPU_MODELS[0] };

export function boardHost(add: (board: Board) => void = () => {}): BoardHost {
  const ends: string[] = [];
  const layout = layOutMemory({ ramBytes: RAM, ...PCI_HOLE });
  const memory = new EngineMemory(RAM);
  const board = new Board({
    processor: Object.assign(new FakeProcessor(memory), MODEL),
    memory,
    clock: new Clock(new VirtualTicks(() => 0n)),
    layout,
    serialOutput: () => {},
    end: how => void ends.push(how),
  });
  add(board);
  board.runFirmware([0]);
  const host = new TestHost(RAM / 4096, {
    bus: board.bus,
    pci: board.pci,
    interrupts: board.interrupts,
    ioApic: board.wiring.ioApic,
    ioApicAddress: AT.ioApic,
    ecamAddress: OWN_PLAN.ecam,
    processors: 2,
    ownPorts: [[AT.com1, AT.com1 + 7]],
    memoryTypes: [{ base: 0xc0000000, size: 0x40000000, type: 0 }],
    ownGsis: [4],
    ownFrames: [[AT.ioApic / 4096, AT.ioApic / 4096]],
    reservedFrames: [[0, 0x100]],
    powerOff: () => void ends.push('poweroff'),
    reset: () => void ends.push('reset'),
  });
  Object.assign(host.processor, MODEL);
  const dom0 = host.guest({ id: 0, isPrivileged: true, drivesHardware: true });
  return { host, board, dom0, ends };
}
