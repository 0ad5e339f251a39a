using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using EphemeralFs.FuseMount.Keeper;
using EphemeralFs.Rpc;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Tests.KeeperDaemon;

/// <summary>
/// A FUSE daemon, as small as can be, that gets itself into the state in which <c>kill -9</c> does not finish: it leaves a CREATE unanswered
/// and sends INVAL_ENTRY for the same directory, so its notifier sleeps uninterruptibly behind the directory's lock. Its successor asks for
/// the outstanding request again (FUSE_NOTIFY_RESEND) and answers it, which is what sets everybody free. As the node daemon does, it listens on a
/// socket, which stays open while it cannot die.
/// </summary>
internal static partial class StuckDaemon
{
    private const int OutHeaderBytes = 16;
    private const int NotifyInvalEntry = 3;
    private const int NotifyResend = 7;
    private const uint OpForget = 2;
    private const uint OpGetAttr = 3;
    private const uint OpLookup = 1;
    private const uint OpInit = 26;
    private const uint OpCreate = 35;
    private const uint OpInterrupt = 36;
    private const uint OpBatchForget = 42;
    private const int ENOENT = 2;
    private const int EROFS = 30;
    private const int ENOSYS = 38;
    private const ulong NoSuidNoDev = 6;
    private const int MNT_DETACH = 2;

    internal static int Run(string socket, string report, string mountPoint, WaitHandle terminated)
    {
        using var server = new RpcServer(Endpoint.Unix($"{socket}-daemon"), new Refusal());
        using var client = KeeperClient.Attach(new KeeperClientOptions { SocketPath = socket, Log = Console.Error.WriteLine });
        var inherited = client.Inherited.FirstOrDefault(static entry => entry.Key == "mount:stuck");
        var device = inherited?.Fds[0] ?? Mount(mountPoint);
        if (inherited is null)
        {
            client.PutAsync("mount:stuck", [], device).GetAwaiter().GetResult();
        }

        void Report(string line) => File.AppendAllText(report, line + "\n");
        new Thread(() => Serve(device, isSuccessor: inherited is not null, Report)) { IsBackground = true }.Start();
        Report($"started incarnation={client.Incarnation} ");
        _ = terminated.WaitOne();
        _ = UMount(mountPoint, MNT_DETACH);
        return 0;
    }

    private static SafeFileHandle Mount(string mountPoint)
    {
        var device = File.OpenHandle("/dev/fuse", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        var options = $"fd={device.DangerousGetHandle()},rootmode=40000,user_id=0,group_id=0";
        return Mount("keeper-test", mountPoint, "fuse", NoSuidNoDev, options) == 0
            ? device
            : throw new IOException($"mount: {Marshal.GetLastPInvokeError()}");
    }

    private static void Serve(SafeFileHandle device, bool isSuccessor, Action<string> report)
    {
        var fd = (int)device.DangerousGetHandle();
        if (isSuccessor)
        {
            Send(fd, 0, NotifyResend, []);
        }

        var buffer = new byte[1 << 18];
        while (true)
        {
            var length = Read(fd, buffer, (nuint)buffer.Length);
            if (length <= 0)
            {
                // EINTR and ENOENT (the asking program was killed) are no end; ENODEV, after the unmount, is.
                if (Marshal.GetLastPInvokeError() is 4 or 2 or 11)
                {
                    continue;
                }

                return;
            }

            Answer(fd, buffer, isSuccessor, report);
        }
    }

    private static void Answer(int fd, ReadOnlySpan<byte> request, bool isSuccessor, Action<string> report)
    {
        var opcode = BinaryPrimitives.ReadUInt32LittleEndian(request[4..]);
        var unique = BinaryPrimitives.ReadUInt64LittleEndian(request[8..]);
        switch (opcode)
        {
            case OpInit:
                var init = new byte[64];
                BinaryPrimitives.WriteUInt32LittleEndian(init, 7);
                BinaryPrimitives.WriteUInt32LittleEndian(init.AsSpan(4), BinaryPrimitives.ReadUInt32LittleEndian(request[44..]));
                BinaryPrimitives.WriteUInt32LittleEndian(init.AsSpan(20), 4096);
                BinaryPrimitives.WriteUInt32LittleEndian(init.AsSpan(24), 1);
                Send(fd, unique, 0, init);
                break;
            case OpGetAttr:
                var attributes = new byte[104];
                BinaryPrimitives.WriteUInt64LittleEndian(attributes.AsSpan(16), 1);
                BinaryPrimitives.WriteUInt32LittleEndian(attributes.AsSpan(16 + 60), 0x41ED);
                BinaryPrimitives.WriteUInt32LittleEndian(attributes.AsSpan(16 + 64), 2);
                Send(fd, unique, 0, attributes);
                break;
            case OpLookup:
                Send(fd, unique, -ENOENT, []);
                break;
            case OpCreate when isSuccessor:
                report($"create again, resent={unique >> 63}");
                Send(fd, unique, -EROFS, []);
                break;
            case OpCreate:
                report("create left unanswered");
                new Thread(() => Invalidate(fd)) { IsBackground = true }.Start();
                break;
            case OpForget or OpBatchForget or OpInterrupt:
                break;
            default:
                Send(fd, unique, -ENOSYS, []);
                break;
        }
    }

    private static void Invalidate(int fd)
    {
        var name = Encoding.ASCII.GetBytes("victim\0");
        var body = new byte[16 + name.Length];
        BinaryPrimitives.WriteUInt64LittleEndian(body, 1);
        BinaryPrimitives.WriteUInt32LittleEndian(body.AsSpan(8), (uint)name.Length - 1);
        name.CopyTo(body, 16);
        Send(fd, 0, NotifyInvalEntry, body);
    }

    private static void Send(int fd, ulong unique, int error, ReadOnlySpan<byte> body)
    {
        var message = new byte[OutHeaderBytes + body.Length];
        BinaryPrimitives.WriteInt32LittleEndian(message, message.Length);
        BinaryPrimitives.WriteInt32LittleEndian(message.AsSpan(4), error);
        BinaryPrimitives.WriteUInt64LittleEndian(message.AsSpan(8), unique);
        body.CopyTo(message.AsSpan(OutHeaderBytes));
        _ = Write(fd, message, (nuint)message.Length);
    }

    [LibraryImport("libc", EntryPoint = "mount", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Mount(string source, string target, string type, ulong flags, string data);

    [LibraryImport("libc", EntryPoint = "umount2", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int UMount(string target, int flags);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint Read(int fd, [Out] byte[] buffer, nuint count);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(int fd, byte[] buffer, nuint count);

    private sealed class Refusal : IRpcHandler
    {
        public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body) => body?.Dispose();

        public void OnDisconnected(RpcPeer peer)
        {
        }
    }
}
