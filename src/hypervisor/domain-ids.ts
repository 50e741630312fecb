// Domain ids with a meaning of their own. Source: public/xen.h.
export const DOMID_FIRST_RESERVED = 0x7ff0;
/** The calling domain. */
export const DOMID_SELF = 0x7ff0;
/** Device memory that belongs to no domain. */
export const DOMID_IO = 0x7ff1;
/** Xen's own frames. */
export const DOMID_XEN = 0x7ff2;
export const DOMID_COW = 0x7ff3;
export const DOMID_INVALID = 0x7ff4;
