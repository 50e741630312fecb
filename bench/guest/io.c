/* A guest that is nothing but a disk's or a network's load, as its init: loads the modules of /modules in the order of their names, does
 * what its environment says (words of the kernel's command line), says on its console when a part begins and ends, and powers off.
 *   disk=xvda                          sequential and random transfers past the page cache, and a buffered read
 *   address=10.0.2.15 peer=10.0.2.2    sends to port 7001 of the peer, receives from its port 7002
 *   address=10.0.0.1 serve=1           is such a peer
 * bench/block.ts and bench/net.ts time it from outside. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MIB = 1 << 20, PIECE = 256 << 10, SMALL = 4096, RANDOM = 4096, OUT = 7001, IN = 7002 };

static char *buffer;
static long long mib;

static void begin(const char *part) { printf("suite: begin %s\n", part); }
static void end(const char *part, long long bytes) { printf("suite: end %s %llx\n", part, bytes); }

static void fail(const char *what) {
  printf("suite: failed: ");
  perror(what);
  sync();
  reboot(RB_POWER_OFF);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void load_modules(void) {
  struct dirent **names;
  int count = scandir("/modules", &names, NULL, by_name);
  for (int i = 0; i < count; i++) {
    if (names[i]->d_name[0] == '.') continue;
    char path[300];
    snprintf(path, sizeof path, "/modules/%s", names[i]->d_name);
    int fd = open(path, O_RDONLY);
    if (syscall(SYS_finit_module, fd, "", 0)) fail(path);
    close(fd);
  }
}

static int patiently(const char *path, int flags) {
  for (int i = 0; i < 100; i++) {
    int fd = open(path, flags);
    if (fd >= 0) return fd;
    usleep(100000);
  }
  fail(path);
  return -1;
}

/* The same places on every machine. */
static off_t place(unsigned *state) {
  *state = *state * 1664525 + 1013904223;
  return (off_t)(*state >> 8) % (mib * MIB / SMALL) * SMALL;
}

static void transfer(const char *part, int fd, int writes, int size, int count, int random) {
  unsigned state = 1;
  begin(part);
  for (int i = 0; i < count; i++) {
    off_t at = random ? place(&state) : (off_t)i * size;
    if ((writes ? pwrite(fd, buffer, size, at) : pread(fd, buffer, size, at)) != size) fail(part);
  }
  if (writes && fsync(fd)) fail("fsync");
  end(part, (long long)size * count);
}

static void block(const char *disk) {
  char path[64];
  snprintf(path, sizeof path, "/dev/%s", disk);
  int direct = patiently(path, O_RDWR | O_DIRECT);
  int pieces = mib * MIB / PIECE;
  transfer("seq-write", direct, 1, PIECE, pieces, 0);
  transfer("seq-read", direct, 0, PIECE, pieces, 0);
  transfer("rand-write-4k", direct, 1, SMALL, RANDOM, 1);
  transfer("rand-read-4k", direct, 0, SMALL, RANDOM, 1);
  int buffered = open(path, O_RDONLY);
  transfer("buffered-read", buffered, 0, PIECE, pieces, 0);
}

static void configure(const char *address) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct ifreq request = {.ifr_name = "eth0"};
  for (int i = 0; ioctl(fd, SIOCGIFFLAGS, &request); i++) {
    if (i == 100) fail("eth0");
    usleep(100000);
  }
  struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
  in->sin_family = AF_INET;
  inet_aton(address, &in->sin_addr);
  if (ioctl(fd, SIOCSIFADDR, &request)) fail("address");
  inet_aton("255.255.255.0", &in->sin_addr);
  if (ioctl(fd, SIOCSIFNETMASK, &request)) fail("netmask");
  if (ioctl(fd, SIOCGIFFLAGS, &request)) fail("flags");
  request.ifr_flags |= IFF_UP | IFF_RUNNING;
  if (ioctl(fd, SIOCSIFFLAGS, &request)) fail("up");
  close(fd);
}

static struct sockaddr_in at(const char *address, int port) {
  struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(port)};
  inet_aton(address, &place.sin_addr);
  return place;
}

static int reach(const char *peer, int port) {
  struct sockaddr_in to = at(peer, port);
  for (int i = 0; i < 600; i++) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (!connect(fd, (struct sockaddr *)&to, sizeof to)) return fd;
    close(fd);
    usleep(100000);
  }
  fail("connect");
  return -1;
}

static void send_all(int fd, long long bytes) {
  for (long long left = bytes; left > 0;) {
    ssize_t sent = write(fd, buffer, left < PIECE ? left : PIECE);
    if (sent <= 0) fail("send");
    left -= sent;
  }
}

static long long receive_all(int fd) {
  long long got = 0;
  for (ssize_t n; (n = read(fd, buffer, PIECE)) > 0;) got += n;
  return got;
}

static void talk(const char *peer) {
  int fd = reach(peer, OUT);
  begin("tcp-send");
  send_all(fd, mib * MIB);
  shutdown(fd, SHUT_WR);
  /* the peer closes when it has all */
  receive_all(fd);
  end("tcp-send", mib * MIB);
  close(fd);
  fd = reach(peer, IN);
  begin("tcp-receive");
  end("tcp-receive", receive_all(fd));
  close(fd);
}

static int accept_at(int port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in here = at("0.0.0.0", port);
  if (bind(fd, (struct sockaddr *)&here, sizeof here) || listen(fd, 1)) fail("listen");
  return fd;
}

static void serve(void) {
  int out = accept_at(OUT), in = accept_at(IN);
  printf("suite: serving\n");
  int fd = accept(out, NULL, NULL);
  receive_all(fd);
  close(fd);
  fd = accept(in, NULL, NULL);
  send_all(fd, mib * MIB);
  close(fd);
  /* until it is ended from outside */
  for (;;) pause();
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (getpid() != 1) return 2; /* it mounts and powers off: for a guest alone */
  signal(SIGPIPE, SIG_IGN);
  mount("dev", "/dev", "devtmpfs", 0, NULL);
  load_modules();
  buffer = aligned_alloc(4096, PIECE);
  memset(buffer, 0x5a, PIECE);
  mib = atoi(getenv("mib") ? getenv("mib") : "64");
  const char *disk = getenv("disk"), *address = getenv("address"), *peer = getenv("peer");
  if (disk) block(disk);
  if (address) configure(address);
  if (peer) talk(peer);
  if (getenv("serve")) serve();
  printf("suite: done\n");
  fflush(stdout);
  reboot(RB_POWER_OFF);
  return 0;
}
