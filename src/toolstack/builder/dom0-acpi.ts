// The ACPI tables that a PVH Dom0 gets of the machine's: a root of its own, which leads to those tables that are the domain's business, and a
// MADT with its own processors. Source: xen/arch/x86/hvm/dom0_build.c (pvh_setup_acpi_madt, pvh_setup_acpi_xsdt, pvh_acpi_table_allowed).
import * as abi from '../../abi/acpi.ts';
import { checksum, filled } from '../../abi/packed.ts';
import type { PhysicalMemory } from '../../machine/physical-memory.ts';

/** Tables of the root that are passed on; what Xen uses itself (HPET, DMAR, SRAT) is not among them. */
const ALLOWED = new Set(['FACP', 'PSDT', 'SSDT', 'SBST', 'MCFG', 'SLIC', 'MSDM', 'WDAT', 'FPDT', 'S3PT', 'BGRT']);
const OEM = /^OEM/;
const MADT = 'APIC';
/** The highest revision whose entries are understood. */
const MADT_REVISION = 4;
const LOCAL_APIC = 0xfee00000;
const HEADER_BYTES = abi.tableHeader.size(64);
/** Entries of the machine's MADT that concern its wiring, not its processors. */
const NMI_SOURCE = 3;

type Header = ReturnType<typeof abi.tableHeader.read>;

/** The machine's tables as firmware has left them. */
export class MachineTables {
  private readonly memory: PhysicalMemory;
  private readonly rsdp: Uint8Array;

  /** @param rsdp physical address of the root pointer */
  constructor(memory: PhysicalMemory, rsdp: number) {
    this.memory = memory;
    this.rsdp = this.bytes(rsdp, abi.rsdp.size(64));
  }

  get root(): ReturnType<typeof abi.rsdp.read> {
    return abi.rsdp.read(viewOf(this.rsdp), 0, 64);
  }

  /** Tables that the XSDT names, by address. */
  get tables(): { address: number; header: Header }[] {
    const xsdt = this.table(Number(this.root.xsdtAddress));
    const view = viewOf(xsdt);
    const found: { address: number; header: Header }[] = [];
    for (let at = HEADER_BYTES; at + 8 <= xsdt.length; at += 8) {
      const address = Number(view.getBigUint64(at, true));
      found.push({ address, header: this.header(address) });
    }
    return found;
  }

  header(address: number): Header {
    return abi.tableHeader.read(viewOf(this.bytes(address, HEADER_BYTES)), 0, 64);
  }

  table(address: number): Uint8Array {
    return this.bytes(address, this.header(address).length);
  }

  private bytes(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.memory.read(address, bytes);
    return bytes;
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** @param apicIds of the domain's vCPUs, in their order */
export function dom0Madt(machine: MachineTables, apicIds: readonly number[]): Uint8Array {
  const { address, header } = machine.tables.find(table => table.header.signature === MADT)!;
  const { MadtType: type, MADT_ENABLED: flags } = abi;
  const wiring = new Map<number, Uint8Array[]>();
  const native = machine.table(address);
  for (let at = abi.madt.size(64); at + 2 <= native.length && native[at + 1] >= 2; at += native[at + 1]) {
    const entry = native.subarray(at, at + native[at + 1]);
    wiring.set(entry[0], [...(wiring.get(entry[0]) ?? []), entry]);
  }
  const length = abi.madtX2Apic.size(64);
  const parts = [
    filled(abi.madt, { localApic: LOCAL_APIC }),
    ...(wiring.get(type.ioApic) ?? []),
    ...apicIds.map((apicId, uid) => filled(abi.madtX2Apic, { type: type.x2Apic, length, apicId, uid, flags })),
    ...(wiring.get(type.override) ?? []),
    ...(wiring.get(NMI_SOURCE) ?? []),
  ];
  return sealed({ ...header, revision: Math.min(header.revision, MADT_REVISION) }, parts);
}

/** The root table: what of the machine's is passed on, and the domain's own MADT. */
export function dom0Xsdt(machine: MachineTables, madt: number): Uint8Array {
  const { tables, root } = machine;
  const passed = tables.filter(({ header: { signature } }) => ALLOWED.has(signature) || OEM.test(signature));
  const addresses = new Uint8Array(8 * (passed.length + 1));
  const view = viewOf(addresses);
  [madt, ...passed.map(({ address }) => address)].forEach((address, i) => {
    view.setBigUint64(i * 8, BigInt(address), true);
  });
  const header = machine.header(Number(root.xsdtAddress));
  return sealed(header, [new Uint8Array(HEADER_BYTES), addresses]);
}

export function dom0Rsdp(machine: MachineTables, xsdt: number): Uint8Array {
  const bytes = filled(abi.rsdp, {
    ...{ signature: abi.RSDP_SIGNATURE, oemId: machine.root.oemId, revision: 2 },
    ...{ length: abi.rsdp.size(64), xsdtAddress: BigInt(xsdt) },
  });
  const view = viewOf(bytes);
  abi.rsdp.update(view, 0, { checksum: checksum(bytes.subarray(0, abi.RSDP_V1_LENGTH)) }, 64);
  abi.rsdp.update(view, 0, { extendedChecksum: checksum(bytes) }, 64);
  return bytes;
}

/** A table of these parts, the first of which begins with room for the header. */
function sealed(header: Header, parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  const view = viewOf(bytes);
  abi.tableHeader.write(view, 0, { ...header, length: bytes.length, checksum: 0 }, 64);
  abi.tableHeader.update(view, 0, { checksum: checksum(bytes) }, 64);
  return bytes;
}
