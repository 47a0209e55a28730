"""Who may: keys and tokens, whose bot it is, how much may be asked, and the connections' own security.

- `settings`: what of it is on
- `principal`: somebody who asks, and a request of theirs that was let in
- `keys`: API keys
- `claims`, `key_set`, `tokens`: JSON Web Tokens and the keys that they are signed with
- `buckets`, `limiter`: rates and concurrency; pure, the clock passed in
- `gate`: the one thing that requests meet; absent where access control is off
- `guard`: the gate before the application
- `openness`: a router that would be open to a network is not started by accident
- `tls`: certificates, read again when their files change
- `assembly`: all of it put together
"""
