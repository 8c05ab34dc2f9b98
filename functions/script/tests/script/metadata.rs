//! That no script reaches the metadata services of clouds, which hand out the machine's role, and reaches all else.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::Command;
use std::sync::Arc;

use script::{Ended, Order, Sandbox};

use crate::sandboxes::{BINARY, bash, is_root, python, run_in, sandboxes, success};

/// What each script in Python begins with. No try takes long, should it not be refused.
const TRIES: &str = "
import ctypes, errno, os, signal, socket, struct, threading

V4, V6, TCP, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
libc = ctypes.CDLL(None, use_errno=True)

def made(family, kind):
    made = socket.socket(family, kind)
    made.settimeout(3)
    return made

def attempt(name, act):
    try:
        act()
        print(name, 'done')
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error), os.strerror(error.errno or 0))

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), '')
    return result

class Message(ctypes.Structure):
    _fields_ = [('name', ctypes.c_char_p), ('length', ctypes.c_uint), ('parts', ctypes.c_void_p), ('count', ctypes.c_size_t),
                ('control', ctypes.c_void_p), ('control_length', ctypes.c_size_t), ('flags', ctypes.c_long),
                ('sent', ctypes.c_uint)]

def address_of(host, port, family=V4):
    return struct.pack('=H', family) + struct.pack('!H', port) + socket.inet_aton(host) + bytes(8)

def send_many(sender, addresses):
    messages = (Message * len(addresses))(*[Message(address, len(address)) for address in addresses])
    return checked(libc.sendmmsg(sender.fileno(), messages, len(addresses), 0))
";

const REFUSED: &str = "EACCES Permission denied";

/// Python that knows how to try.
fn trying(script: &str) -> Order {
    python(&format!("{TRIES}{script}"))
}

/// What makes a command run as root without the right to read the memory of others' processes, as in containers.
const CONTAINED: [&str; 3] = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];

fn contained() -> Sandbox {
    Sandbox::of(CONTAINED.into_iter().chain([BINARY]).map(Into::into))
}

async fn run(order: &Order) -> Ended {
    let contained = is_root().then(|| ("in a container", contained()));
    run_in(sandboxes().into_iter().chain(contained).collect(), order).await
}

/// What a script prints when each of these was refused.
fn all_refused(names: &[&str]) -> Ended {
    success(&each(names, REFUSED))
}

fn each(names: &[&str], what: &str) -> String {
    names.iter().map(|name| format!("{name} {what}\n")).collect::<Vec<_>>().concat()
}

#[test]
fn root_in_a_container_may_not_trace() {
    const CAP_SYS_PTRACE: u32 = 19;
    if is_root() {
        let said =
            Command::new(CONTAINED[0]).args(&CONTAINED[1..]).args(["cat", "/proc/self/status"]).output().unwrap();
        let status = String::from_utf8(said.stdout).unwrap();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
        assert_eq!(u64::from_str_radix(effective, 16).unwrap() >> CAP_SYS_PTRACE & 1, 0);
    }
}

#[tokio::test]
async fn every_address_is_refused_to_connections() {
    let addresses = [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "169.254.7.8",
        "100.100.100.200",
        "fd00:ec2::254",
        "fe80::1",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:aa02",
    ];
    let script = format!(
        "
for host in {addresses:?}:
    for port in (80, 443, 1338):
        attempt(host, lambda: made(V6 if ':' in host else V4, TCP).connect((host, port)))
"
    );
    let thrice: Vec<_> = addresses.into_iter().flat_map(|host| [host; 3]).collect();
    assert_eq!(run(&trying(&script)).await, all_refused(&thrice));
}

#[tokio::test]
async fn bash_is_refused_too() {
    let script = "exec 2>&1; for kind in tcp udp; do echo > /dev/$kind/169.254.169.254/80 || echo $?; done";
    let ended = run(&bash(script)).await;
    assert_eq!(ended.output.matches("connect: Permission denied").count(), 2, "{}", ended.output);
    assert_eq!(ended.output.matches("\n1\n").count(), 2, "{}", ended.output);
}

#[tokio::test]
async fn datagrams_are_refused_however_they_are_sent() {
    let script = "
there, here = ('169.254.169.254', 80), made(V4, UDP)
here.bind(('127.0.0.1', 0))
attempt('connect', lambda: made(V4, UDP).connect(there))
attempt('sendto', lambda: made(V4, UDP).sendto(b'x', there))
attempt('sendmsg', lambda: made(V4, UDP).sendmsg([b'x'], [], 0, there))
attempt('mapped', lambda: made(V6, UDP).sendto(b'x', ('::ffff:169.254.169.254', 80)))
attempt('mapped', lambda: made(V6, UDP).sendmsg([b'x'], [], 0, ('::ffff:169.254.169.254', 80)))
attempt('sendmmsg', lambda: send_many(made(V4, UDP), [address_of(*there)]))
attempt('second', lambda: send_many(made(V4, UDP), [address_of(*here.getsockname()), address_of(*there)]))
no_family = address_of(*there, family=socket.AF_UNSPEC)
attempt('unspecified', lambda: checked(libc.sendto(made(V4, UDP).fileno(), b'x', 1, 0, no_family, len(no_family))))
attempt('fast open', lambda: made(V4, TCP).sendto(b'x', 0x20000000, there))
";
    let names = ["connect", "sendto", "sendmsg", "mapped", "mapped", "sendmmsg", "second", "unspecified", "fast open"];
    assert_eq!(run(&trying(script)).await, all_refused(&names));
}

#[tokio::test]
async fn whatever_a_script_starts_is_refused_too() {
    let script = "
def connect():
    made(V4, TCP).connect(('169.254.169.254', 80))
attempt('itself', connect)
thread = threading.Thread(target=lambda: attempt('a thread', connect))
thread.start()
thread.join()
ready, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        attempt('a daemon', connect)
        os.write(writer, b'.')
    os._exit(0)
os.read(ready, 1)
os.wait()
libc.prctl(4, 0, 0, 0, 0)
attempt('one that hides', connect)
";
    assert_eq!(run(&trying(script)).await, all_refused(&["itself", "a thread", "a daemon", "one that hides"]));
    let script = "python3 -c 'import socket\nsocket.create_connection((\"169.254.169.254\", 80), 3)' 2>&1 | tail -n 1";
    assert_eq!(run(&bash(script)).await, success("PermissionError: [Errno 13] Permission denied\n"));
}

#[tokio::test]
async fn ways_around_are_closed() {
    let script = "
attempt('io_uring', lambda: checked(libc.syscall(425, 8, ctypes.create_string_buffer(120))))
attempt('x32', lambda: checked(libc.syscall(0x40000000 + 42, 0, 0, 0)))
attempt('unreadable', lambda: checked(libc.connect(made(V4, TCP).fileno(), ctypes.c_void_p(8), 16)))
attempt('unreadable', lambda: checked(libc.sendmsg(made(V4, UDP).fileno(), ctypes.c_void_p(2**64 - 8), 0)))
attempt('unreadable', lambda: checked(libc.sendmmsg(made(V4, UDP).fileno(), ctypes.c_void_p(2**64 - 8), 9, 0)))
";
    let unreadable = each(&["unreadable"; 3], REFUSED);
    let expected = format!("io_uring EPERM Operation not permitted\nx32 ENOSYS Function not implemented\n{unreadable}");
    assert_eq!(run(&trying(script)).await, success(&expected));
}

#[tokio::test]
async fn all_else_is_reached() {
    let script = "
listener = made(V4, TCP)
listener.bind(('127.0.0.1', 0))
listener.listen()
port = listener.getsockname()[1]
attempt('tcp', lambda: made(V4, TCP).connect(('127.0.0.1', port)))
attempt('mapped', lambda: made(V6, TCP).connect(('::ffff:127.0.0.1', port)))
attempt('looked up', lambda: socket.create_connection(('localhost', port), 3))

names = made(V4, UDP)
names.bind(('127.0.0.1', 0))
def ask(send):
    asker = made(V4, UDP)
    send(asker, names.getsockname())
    question, whence = names.recvfrom(99)
    names.sendto(b'answer to ' + question, whence)
    assert asker.recv(99) == b'answer to ' + question
def connected(asker, to):
    asker.connect(to)
    asker.send(b'q')
attempt('sendto', lambda: ask(lambda asker, to: asker.sendto(b'q', to)))
attempt('sendmsg', lambda: ask(lambda asker, to: asker.sendmsg([b'q'], [], 0, to)))
attempt('sendmmsg', lambda: ask(lambda asker, to: send_many(asker, [address_of(*to)])))
attempt('connected', lambda: ask(connected))

local = socket.socket(socket.AF_UNIX, TCP)
local.bind('socket')
local.listen()
attempt('unix', lambda: socket.socket(socket.AF_UNIX, TCP).connect('socket'))
one, other = socket.socketpair()
attempt('files', lambda: socket.send_fds(one, [b'x'], [0]))
attempt('nowhere', lambda: checked(libc.connect(one.fileno(), None, 0)))

# Names are looked up at such addresses on Lambda and elsewhere. This sends nothing yet.
try:
    made(V4, UDP).connect(('169.254.20.10', 53))
except OSError as error:
    assert error.errno != errno.EACCES
";
    let names = ["tcp", "mapped", "looked up", "sendto", "sendmsg", "sendmmsg", "connected", "unix", "files"];
    let expected = each(&names, "done") + "nowhere EINVAL Invalid argument\n";
    assert_eq!(run(&trying(script)).await, success(&expected));
}

/// Signals come all the while, and interrupt what waits for an answer.
#[tokio::test]
async fn a_thousand_connections_are_made() {
    let script = "
listener = made(V4, TCP)
listener.bind(('127.0.0.1', 0))
listener.listen()
signals = 0
def interrupted(*_):
    global signals
    signals += 1
signal.signal(signal.SIGALRM, interrupted)
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
for _ in range(1000):
    with made(V4, TCP) as one:
        one.connect(listener.getsockname())
        listener.accept()[0].close()
signal.setitimer(signal.ITIMER_REAL, 0)
print(signals > 0)
attempt('the last', lambda: made(V4, TCP).connect(('169.254.169.254', 80)))
";
    assert_eq!(run(&trying(script)).await, success(&format!("True\nthe last {REFUSED}\n")));
}

/// Another sandbox around Medic, which allows no filters of others.
const AROUND: &str = "
import ctypes, os, platform, struct, sys
seccomp = {'x86_64': 317, 'aarch64': 277}[platform.machine()]
filter = [(0x20, 0, 0, 0), (0x15, 0, 1, seccomp), (0x06, 0, 0, 0x50000 + 1), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b''.join(struct.pack('=HBBI', *one) for one in filter))
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(filter), ctypes.addressof(code)))) == 0
os.execv(sys.argv[1], sys.argv[1:])
";

#[tokio::test]
async fn where_the_kernel_refuses_a_script_runs_and_the_log_says_so_once() {
    let mut log = tempfile::tempfile().unwrap();
    let writer: Arc<File> = Arc::new(log.try_clone().unwrap());
    let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let sandbox = Sandbox::of(["python3", "-c", AROUND, BINARY].map(Into::into));
    for _ in 0..2 {
        assert_eq!(sandbox.run(&bash("echo reached")).await.unwrap(), success("reached\n"));
    }
    let mut logged = String::new();
    log.rewind().unwrap();
    log.read_to_string(&mut logged).unwrap();
    let line = "scripts are not kept from the metadata services of clouds here error=\"the kernel refused the filter: \
                Operation not permitted (os error 1)\"";
    assert_eq!((logged.matches("WARN").count(), logged.matches(line).count()), (1, 1), "{logged}");
}
