"""`make demo`: the real program with services to find, stand-ins for ip-api and Gemini, and a few jobs to look at.

The network is 127.66.252.0/24, which counts as public here (SCAN_TREAT_AS_GLOBAL); tests keep out of it. All ports are
above 1023, so that no privilege is needed. Nothing leaves the machine, except that the system's
resolver is asked for one name under .invalid.

    __main__         the whole story: start, submit, say where to look, stay until Ctrl-C
      ├─ scenery     who is where: addresses, ports, providers, targets
      ├─ network     listens there, in one thread; `conversations` is what each service says, `certificate` what one shows
      ├─ stand_in    an HTTP server on a free port, for `ip_api`, `rdap` and `gemini`
      ├─ program     `manage.py up` in a directory that `sweep` removes, whatever ends the demo
      ├─ client      the program's API
      ├─ ending      when it is over
      └─ jobs        what is submitted: history, dashboard and earlier scans need some
    screenshots      docs/screenshots, from a demo of its own
"""
