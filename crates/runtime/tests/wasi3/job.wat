;; A job of WASI 0.3 whose `run` is a plain function: BODY becomes its body, which leaves 0 for success.
(component
  (import "wasi:cli/exit@0.3.0" (instance $exit
    (export "exit-with-code" (func (param "status-code" u8)))))
  (import "wasi:random/random@0.3.0" (instance $random
    (export "get-random-u64" (func (result u64)))))
  ;; A standard library of WASI 0.2 beside it.
  (import "wasi:random/insecure@0.2.0" (instance $older
    (export "get-insecure-random-u64" (func (result u64)))))
  (import "wasi:sockets/types@0.3.0" (instance $sockets
    (type $code (variant
      (case "access-denied") (case "not-supported") (case "invalid-argument")
      (case "out-of-memory") (case "timeout") (case "invalid-state")
      (case "address-not-bindable") (case "address-in-use") (case "remote-unreachable")
      (case "connection-refused") (case "connection-broken") (case "connection-reset")
      (case "connection-aborted") (case "datagram-too-large") (case "other" (option string))))
    (export "error-code" (type $error (eq $code)))
    (type $versions (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type $family (eq $versions)))
    (export "tcp-socket" (type $tcp (sub resource)))
    (export "[static]tcp-socket.create"
      (func (param "address-family" $family) (result (result (own $tcp) (error $error)))))))

  (core module $libc
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $libc (instantiate $libc))
  (core func $exit (canon lower (func $exit "exit-with-code")))
  (core func $random (canon lower (func $random "get-random-u64")))
  (core func $older (canon lower (func $older "get-insecure-random-u64")))
  (core func $socket (canon lower (func $sockets "[static]tcp-socket.create")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))

  (core module $main
    (import "libc" "memory" (memory 1))
    (import "host" "exit" (func $exit (param i32)))
    (import "host" "random" (func $random (result i64)))
    (import "host" "older" (func $older (result i64)))
    (import "host" "socket" (func $socket (param i32 i32)))
    (func (export "run") (result i32)
      (local $n i64)
      (;BODY;)))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "host" (instance
      (export "exit" (func $exit))
      (export "random" (func $random))
      (export "older" (func $older))
      (export "socket" (func $socket))))))
  (type $ended (result))
  (func $run async (result $ended) (canon lift (core func $main "run")))
  (instance $run (export "run" (func $run)))
  (export "wasi:cli/run@0.3.0" (instance $run)))
