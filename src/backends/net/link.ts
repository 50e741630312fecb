// One Ethernet port, between a network (the user-mode network, a switch) and the device of a guest that is plugged into it (virtio-net, PV
// netback). Frames may be unfinished: guests leave checksums and segmentation to "hardware", which here need not exist at all.

/**
 * A checksum that is still to be computed: the Internet checksum from `start` to the end of the frame, to be stored at `start + offset`, where
 * the pseudo header's sum stands by now. As in struct virtio_net_hdr and Linux's CHECKSUM_PARTIAL; bytes from the frame's start.
 */
export interface PartialChecksum {
  start: number;
  offset: number;
}

/** The frame is a TCP segment too large for the wire, to be cut into segments of `size` payload bytes. Its checksum is partial, too. */
export interface Segmentation {
  type: 'tcpv4' | 'tcpv6';
  size: number;
}

export interface Frame {
  /** From the destination address on, without frame check sequence. */
  bytes: Uint8Array;
  checksum: PartialChecksum | null;
  segmentation: Segmentation | null;
}

/** What of a frame a device can hand on unfinished. */
export interface FrameAbilities {
  checksum: boolean;
  tcpv4: boolean;
  tcpv6: boolean;
}

export const NO_ABILITIES: FrameAbilities = { checksum: false, tcpv4: false, tcpv6: false };
export const ALL_ABILITIES: FrameAbilities = { checksum: true, tcpv4: true, tcpv6: true };

/** The largest frame that may be given to anyone: a segment of 64 KiB with its Ethernet header. */
export const MAX_FRAME = 65535 + 14;

/** The guest's side of a port: what virtio-net and netback implement. */
export interface NetworkDevice {
  /** Looked at for every frame: it may change as the guest's driver negotiates. Network code finishes what the device cannot take. */
  readonly accepts: FrameAbilities;
  /**
   * A frame for the guest; its bytes are good during the call only. It may be called within `send`. False: no room, and the frame
   * will come again after `resume()`.
   */
  receive(frame: Frame): boolean;
}

/** The network's side of a port: what a device is plugged into. Takes frames with all abilities. */
export interface NetworkPort {
  /** Largest payload of a frame on this network, in bytes. */
  readonly mtu: number;
  /** A frame from the guest; its bytes are the caller's again afterwards. What makes no sense or finds no room is dropped, as on a wire. */
  send(frame: Frame): void;
  /** Plugs a device in, or (null) pulls it out. Frames that wait for the former one are dropped. */
  attach(device: NetworkDevice | null): void;
  /** The device has room again after it refused a frame. */
  resume(): void;
}

/** A frame of which nothing is left to do. */
export function wholeFrame(bytes: Uint8Array): Frame {
  return { bytes, checksum: null, segmentation: null };
}

/** A cable between the ports of two networks. */
export function connectPorts(a: NetworkPort, b: NetworkPort): void {
  const into = (port: NetworkPort): NetworkDevice => ({
    accepts: ALL_ABILITIES,
    receive: frame => {
      port.send(frame);
      return true;
    },
  });
  a.attach(into(b));
  b.attach(into(a));
}
