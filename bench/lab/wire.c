/* A long wire between two Ethernet interfaces: what arrives at one end leaves at the other after a delay, with jitter, or
 * not at all. It stands in for netem, which not every kernel has. Jitter may change the order of frames, as on a real path.
 *
 *     wire END-A END-B DELAY_US JITTER_US LOSS_PER_MILLION SEED
 *
 * On SIGTERM it prints its counters as JSON. With ring_drops or pool_empty above 0 the wire itself was the bottleneck, and
 * the run that used it is to be thrown away.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif
#define MAX_FRAME 1664        /* 1,500 bytes and their headers */
#define POOL 131072           /* frames under way at once */
#define TICK_NS 50000ULL      /* the wheel turns every 50 us */
#define TICKS 32768ULL        /* and holds 1.6 s */
#define BATCH 64
#define READS 8               /* batches from one end before the other has its turn */

typedef struct frame {
  struct frame *next;
  uint32_t length;
  uint8_t bytes[MAX_FRAME];
} frame;

typedef struct {
  frame *first, *last;
} queue;

static queue wheel[2][TICKS]; /* by the end at which its frames leave */
static frame *unused;
static int ends[2];
static uint64_t under_way, done_tick, delay_ns, jitter_ns, loss_per_million, random_state;
static uint64_t forwarded, lost, pool_empty, ring_drops, send_errors;
static volatile sig_atomic_t is_told_to_stop;

static void stop(int number) { (void)number; is_told_to_stop = 1; }

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

static uint64_t next_random(void) { /* xorshift64 */
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static void give_back(frame *f) { f->next = unused; unused = f; }

static int open_end(const char *name) {
  int end = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), yes = 1, bytes = 128 << 20;
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
                                .sll_ifindex = (int)if_nametoindex(name)};
  if (end < 0 || bind(end, (struct sockaddr *)&address, sizeof address)) { perror(name); exit(1); }
  setsockopt(end, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes);
  setsockopt(end, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes);
  setsockopt(end, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
  return end;
}

static void put_on_the_wire(frame *f, uint32_t length, uint64_t arrived_ns, int leaves_at) {
  uint64_t at = arrived_ns + delay_ns;
  if (jitter_ns) at += next_random() % (2 * jitter_ns) - jitter_ns;
  uint64_t tick = at / TICK_NS;
  if (tick <= done_tick) tick = done_tick + 1;
  queue *slot = &wheel[leaves_at][tick % TICKS];
  f->length = length;
  f->next = NULL;
  if (slot->last) slot->last->next = f; else slot->first = f;
  slot->last = f;
  under_way++;
}

/* One batch from one end; returns whether there may be more. */
static int take_in(int end) {
  struct mmsghdr messages[BATCH] = {0};
  struct iovec buffers[BATCH];
  frame *frames[BATCH];
  int room = 0;
  for (; room < BATCH && unused; room++) {
    frames[room] = unused;
    unused = unused->next;
    buffers[room] = (struct iovec){frames[room]->bytes, MAX_FRAME};
    messages[room].msg_hdr.msg_iov = &buffers[room];
    messages[room].msg_hdr.msg_iovlen = 1;
  }
  if (!room) { pool_empty++; return 0; }
  int count = recvmmsg(ends[end], messages, room, MSG_DONTWAIT, NULL);
  if (count < 0) count = 0;
  uint64_t arrived_ns = now_ns();
  for (int i = 0; i < room; i++) {
    if (i >= count) { give_back(frames[i]); continue; }
    if (loss_per_million && next_random() % 1000000 < loss_per_million) { lost++; give_back(frames[i]); continue; }
    put_on_the_wire(frames[i], messages[i].msg_len, arrived_ns, 1 - end);
  }
  return count == room;
}

static void send_batch(int end, frame **frames, int count) {
  struct mmsghdr messages[BATCH] = {0};
  struct iovec buffers[BATCH];
  for (int i = 0; i < count; i++) {
    buffers[i] = (struct iovec){frames[i]->bytes, frames[i]->length};
    messages[i].msg_hdr.msg_iov = &buffers[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  for (int sent = 0; sent < count;) {
    int done = sendmmsg(ends[end], messages + sent, (unsigned)(count - sent), 0);
    if (done <= 0) { send_errors++; sent++; } else { forwarded += (uint64_t)done; sent += done; }
  }
  for (int i = 0; i < count; i++) give_back(frames[i]);
  under_way -= (uint64_t)count;
}

/* Everything whose time has come by this tick. */
static void let_out(int end, uint64_t tick) {
  frame *batch[BATCH];
  int count = 0;
  for (uint64_t due = done_tick + 1; due <= tick; due++) {
    queue *slot = &wheel[end][due % TICKS];
    frame *next = slot->first;
    slot->first = slot->last = NULL;
    while (next) {
      batch[count++] = next;
      next = next->next;
      if (count == BATCH) { send_batch(end, batch, count); count = 0; }
    }
  }
  if (count) send_batch(end, batch, count);
}

static void carry(void) {
  struct pollfd ready[2] = {{ends[0], POLLIN, 0}, {ends[1], POLLIN, 0}};
  struct timespec pause = {0, under_way ? 150000 : 200000000};
  ppoll(ready, 2, &pause, NULL);
  for (int end = 0; end < 2; end++)
    if (ready[end].revents & POLLIN)
      for (int reads = 0; reads < READS && take_in(end); reads++) {}
  uint64_t tick = now_ns() / TICK_NS;
  let_out(0, tick);
  let_out(1, tick);
  done_tick = tick;
}

int main(int argc, char **argv) {
  if (argc != 7) { fprintf(stderr, "usage: wire END-A END-B DELAY_US JITTER_US LOSS_PER_MILLION SEED\n"); return 2; }
  for (int end = 0; end < 2; end++) ends[end] = open_end(argv[1 + end]);
  delay_ns = strtoull(argv[3], 0, 10) * 1000;
  jitter_ns = strtoull(argv[4], 0, 10) * 1000;
  loss_per_million = strtoull(argv[5], 0, 10);
  random_state = strtoull(argv[6], 0, 10);
  signal(SIGTERM, stop);
  signal(SIGINT, stop);
  frame *pool = malloc(sizeof(frame) * (size_t)POOL);
  for (size_t i = 0; i < POOL; i++) give_back(&pool[i]);
  done_tick = now_ns() / TICK_NS;
  while (!is_told_to_stop) carry();
  for (int end = 0; end < 2; end++) {
    struct tpacket_stats figures;
    socklen_t size = sizeof figures;
    if (!getsockopt(ends[end], SOL_PACKET, PACKET_STATISTICS, &figures, &size)) ring_drops += figures.tp_drops;
  }
  printf("{\"forwarded\": %lu, \"lost_on_purpose\": %lu, \"ring_drops\": %lu, \"pool_empty\": %lu, \"send_errors\": %lu}\n",
         forwarded, lost, ring_drops, pool_empty, send_errors);
  return 0;
}
