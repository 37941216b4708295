/* The least a connect scan can cost: the system calls of the engine for one host, and nothing else. One thread, one epoll,
 * sockets reused after a refusal, one attempt, a fixed wait.
 *
 *     floor ADDRESS FIRST LAST IN_FLIGHT WAIT_MS          # prints "open closed silent seconds"
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct { int fd, port; double sent_at; } flight; /* port 0: parked */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc != 6) { fprintf(stderr, "usage: floor ADDRESS FIRST LAST IN_FLIGHT WAIT_MS\n"); return 2; }
  struct sockaddr_in to = {.sin_family = AF_INET};
  inet_pton(AF_INET, argv[1], &to.sin_addr);
  int next = atoi(argv[2]), last = atoi(argv[3]), most = atoi(argv[4]);
  double wait = atof(argv[5]) / 1e3, began = now();
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  int poller = epoll_create1(0), in_flight = 0, open_count = 0, closed = 0, silent = 0;
  flight *flights = calloc((size_t)most, sizeof *flights);
  struct epoll_event events[4096];
  struct linger reset = {1, 0};
  for (int i = 0; i < most; i++) flights[i].fd = -1;
  while (next <= last || in_flight) {
    for (int i = 0; i < most && next <= last; i++) {
      flight *f = &flights[i];
      if (f->port) continue;
      int is_new = f->fd < 0;
      if (is_new) f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
      f->port = next++;
      f->sent_at = now();
      to.sin_port = htons((uint16_t)f->port);
      connect(f->fd, (struct sockaddr *)&to, sizeof to);
      if (is_new) {
        struct epoll_event event = {.events = EPOLLOUT | EPOLLET, .data.u32 = (uint32_t)i};
        epoll_ctl(poller, EPOLL_CTL_ADD, f->fd, &event);
      }
      in_flight++;
    }
    int count = epoll_wait(poller, events, 4096, 1);
    for (int i = 0; i < count; i++) {
      flight *f = &flights[events[i].data.u32];
      if (!f->port) continue;
      to.sin_port = htons((uint16_t)f->port);
      int failed = connect(f->fd, (struct sockaddr *)&to, sizeof to);
      if (failed && errno == EALREADY) continue;
      if (failed && errno == ECONNREFUSED) {
        closed++;
      } else {
        if (!failed || errno == EISCONN) open_count++; else silent++;
        setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(f->fd);
        f->fd = -1;
      }
      f->port = 0;
      in_flight--;
    }
    double overdue = now() - wait;
    for (int i = 0; i < most; i++)
      if (flights[i].port && flights[i].sent_at < overdue) {
        close(flights[i].fd);
        flights[i] = (flight){.fd = -1};
        silent++;
        in_flight--;
      }
  }
  printf("%d %d %d %.3f\n", open_count, closed, silent, now() - began);
  return 0;
}
