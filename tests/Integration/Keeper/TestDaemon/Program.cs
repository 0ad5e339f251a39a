using System.Buffers.Binary;
using System.Globalization;
using System.IO.Pipes;
using System.Runtime.InteropServices;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Keeper;
using EphemeralFs.Interop;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Tests.KeeperDaemon;

/// <summary>
/// <c>keeper SOCKET [name=value…] [-- COMMAND…]</c> runs a keeper; <c>daemon SOCKET REPORT [behaviour…]</c> runs a daemon that deposits a
/// memfd with a counter and a pipe, and appends to REPORT what it found. Behaviours: ignore-stop, ignore-term.
/// <c>stuck SOCKET REPORT DIR</c> runs the FUSE daemon of <see cref="StuckDaemon"/>.
/// </summary>
internal static class Program
{
    private static int Main(string[] args) => args[0] switch
    {
        "keeper" => RunKeeper(args[1], args[2..]),
        "daemon" => RunDaemon(args[1], args[2], args[3..]),
        "stuck" => RunStuck(args[1], args[2], args[3]),
        _ => 64,
    };

    private static int RunKeeper(string socket, string[] rest)
    {
        var split = Array.IndexOf(rest, "--");
        var settings = (split < 0 ? rest : rest[..split]).Select(static pair => pair.Split('=')).ToDictionary(static p => p[0], static p => p[1]);
        int Get(string name, int otherwise) =>
            settings.TryGetValue(name, out var text) ? int.Parse(text, CultureInfo.InvariantCulture) : otherwise;
        using var exit = new CancellationTokenSource();
        using var onTerm = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
        {
            context.Cancel = true;
            exit.Cancel();
        });
        try
        {
            KeeperHost.Run(
                new KeeperOptions
                {
                    SocketPath = socket,
                    NodeCommand = split < 0 ? [] : rest[(split + 1)..],
                    StartTimeoutMs = Get("start", 60_000),
                    AdoptTimeoutMs = Get("adopt", 30_000),
                    StopTimeoutMs = Get("stop", 20_000),
                    Log = Console.Error.WriteLine,
                },
                exit.Token);
            return 0;
        }
        catch (KeeperException e)
        {
            Console.Error.WriteLine(e.Message);
            return 1;
        }
    }

    private static int RunDaemon(string socket, string report, string[] behaviours)
    {
        using var terminated = new ManualResetEventSlim();
        using var onTerm = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
        {
            context.Cancel = true;
            if (!behaviours.Contains("ignore-term"))
            {
                terminated.Set();
            }
        });
        using var client = KeeperClient.Attach(new KeeperClientOptions { SocketPath = socket, Log = Console.Error.WriteLine });
        using var memory = TakeMemory(client);
        var (reader, writer) = TakePipe(client);
        var counter = BinaryPrimitives.ReadInt64LittleEndian(memory.Slice(0, 8));
        var buffer = new byte[64];
        using var input = new FileStream(reader, FileAccess.Read, bufferSize: 0);
        using var output = new FileStream(writer, FileAccess.Write, bufferSize: 0);
        var found = client.Incarnation == 1 ? "nothing" : Encoding.UTF8.GetString(buffer, 0, input.Read(buffer));
        BinaryPrimitives.WriteInt64LittleEndian(memory.Slice(0, 8), counter + 1);
        output.Write(Encoding.UTF8.GetBytes($"from-{client.Incarnation}"));
        client.UpdateAsync("mount:1", Encoding.UTF8.GetBytes($"written by {client.Incarnation}")).GetAwaiter().GetResult();
        Report(report, $"started incarnation={client.Incarnation} counter={counter} pipe={found}");
        client.ConnectionChanged += connected => Report(report, connected ? "keeper back" : "keeper lost");
        var stop = client.StopRequested;
        while (true)
        {
            if (terminated.Wait(50))
            {
                Report(report, "terminated");
                return 0;
            }

            if (stop.IsCompleted && !behaviours.Contains("ignore-stop"))
            {
                Report(report, $"stopped {stop.Result}");
                return 0;
            }
        }
    }

    private static int RunStuck(string socket, string report, string mountPoint)
    {
        using var terminated = new ManualResetEvent(false);
        using var onTerm = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
        {
            context.Cancel = true;
            terminated.Set();
        });
        return StuckDaemon.Run(socket, report, mountPoint, terminated);
    }

    private static SharedMemory TakeMemory(KeeperClient client)
    {
        var entry = client.Inherited.FirstOrDefault(static entry => entry.Key == "shm:main");
        SharedMemory? memory;
        if (entry is not null)
        {
            Expect(SharedMemory.Map(entry.Fds[0], out memory));
            return memory!;
        }

        Expect(SharedMemory.Create("test-daemon", 4096, allocate: true, out memory));
        client.PutAsync("shm:main", [], memory!.Handle).GetAwaiter().GetResult();
        return memory;
    }

    private static (SafeFileHandle Reader, SafeFileHandle Writer) TakePipe(KeeperClient client)
    {
        var entry = client.Inherited.FirstOrDefault(static entry => entry.Key == "mount:1");
        if (entry is not null)
        {
            return (entry.Fds[0], entry.Fds[1]);
        }

        using var pipe = new AnonymousPipeServerStream(PipeDirection.In);
        Expect(FdPassing.Duplicate(new SafeFileHandle(pipe.SafePipeHandle.DangerousGetHandle(), ownsHandle: false), out var reader));
        Expect(FdPassing.Duplicate(new SafeFileHandle(pipe.ClientSafePipeHandle.DangerousGetHandle(), ownsHandle: false), out var writer));
        client.PutAsync("mount:1", "fresh"u8, reader!, writer!).GetAwaiter().GetResult();
        return (reader!, writer!);
    }

    private static void Expect(Errno error)
    {
        if (error != Errno.OK)
        {
            throw new IOException(error.ToString());
        }
    }

    private static void Report(string path, string line) => File.AppendAllText(path, line + "\n");
}
