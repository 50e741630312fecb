// xen/include/public/io/netif.h: what a network front end and back end put on their two rings. The same in both ABIs.
import { array, bytes, i16, struct, u8, u16, u32, union } from '../../struct.ts';

export const NETTXF = { csumBlank: 1, dataValidated: 2, moreData: 4, extraInfo: 8 } as const;
export const NETRXF = { dataValidated: 1, csumBlank: 2, moreData: 4, extraInfo: 8, gsoPrefix: 16 } as const;
export const XEN_NETIF_EXTRA_TYPE = { none: 0, gso: 1, mcastAdd: 2, mcastDel: 3, hash: 4 } as const;
export const XEN_NETIF_EXTRA_FLAG_MORE = 1;
export const XEN_NETIF_GSO_TYPE = { none: 0, tcpv4: 1, tcpv6: 2 } as const;
/** NETIF_RSP_*; a receive response's status is the number of bytes where it is not negative. */
export const NETIF_RSP = { okay: 0, error: -1, dropped: -2, null: 1 } as const;

export const XEN_NETIF_CTRL_TYPE = {
  getHashFlags: 1,
  setHashFlags: 2,
  setHashKey: 3,
  getHashMappingSize: 4,
  setHashMappingSize: 5,
  setHashMapping: 6,
  setHashAlgorithm: 7,
} as const;
export const XEN_NETIF_CTRL_STATUS = { success: 0, notSupported: 1, invalidParameter: 2, bufferOverflow: 3 } as const;
/** Numbers of bits in the control ring's flags, and types of a hash in an extra info. */
export const XEN_NETIF_CTRL_HASH_TYPE = { ipv4: 0, ipv4Tcp: 1, ipv6: 2, ipv6Tcp: 3 } as const;
export const XEN_NETIF_CTRL_HASH_ALGORITHM = { none: 0, toeplitz: 1 } as const;

/** The first request of a packet has the whole packet's size, those after it their own part's. */
export const netifTxRequest = struct('netif_tx_request', { gref: u32, offset: u16, flags: u16, id: u16, size: u16 });
export const netifTxResponse = struct('netif_tx_response', { id: u16, status: i16 });
export const netifRxRequest = struct('netif_rx_request', { id: u16, pad: u16, gref: u32 });
export const netifRxResponse = struct('netif_rx_response', { id: u16, offset: u16, flags: u16, status: i16 });
/** Takes the place of a request or response after one that has the extraInfo flag. */
export const netifExtraInfo = struct('netif_extra_info', {
  type: u8,
  flags: u8,
  u: union('u', {
    gso: struct('gso', { size: u16, type: u8, pad: u8, features: u16 }),
    mcast: struct('mcast', { addr: bytes(6) }),
    hash: struct('hash', { type: u8, algorithm: u8, value: bytes(4) }),
    pad: array(u16, 3),
  }),
});
export const xenNetifCtrlRequest = struct('xen_netif_ctrl_request', { id: u16, type: u16, data: array(u32, 3) });
export const xenNetifCtrlResponse = struct('xen_netif_ctrl_response', { id: u16, type: u16, status: u32, data: u32 });
