using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>Bytes that nobody should send, to every socket of a running cluster: nothing dies, nothing grows, the mount works on.</summary>
[Collection(DeathCollection.Name)]
public sealed class HostileTests : IDisposable
{
    private const int ConnectionsHeldOpen = 40;
    private const long GrowthMaxBytes = 256L << 20;

    /// <summary>Threads and descriptors that come and go by themselves: the thread pool, heartbeats.</summary>
    private const int Slack = 24;

    private readonly TestCluster cluster;
    private readonly Random random = new(20260101);

    public HostileTests()
    {
        // The servers on TCP, the node's sockets are unix sockets in any case.
        cluster = new TestCluster("efsfoe", null, "--port", "0");
    }

    public void Dispose() => cluster.Dispose();

    [Fact]
    public void NobodyIsHurtByWhatComesInAtAnySocket()
    {
        Work();
        var processes = ClusterProcess.All(cluster.State);
        var before = processes.ToDictionary(process => process.Pid, process => process.Usage());
        var listeners = Listener.Of(processes);
        // Each role is reached, by the wire between roles and, but for keeper and supervisor, by HTTP.
        foreach (string role in new[] { "up", "controller", "metadata", "storage", "keeper", "node" })
        {
            Assert.Contains(listeners, listener => listener.Process.Role == role);
        }
        var held = new List<Socket>();
        try
        {
            foreach (var listener in listeners)
            {
                Attack(listener, held);
            }
            Work();
        }
        finally
        {
            held.ForEach(socket => socket.Dispose());
        }
        Work();

        Assert.Equal(processes.OrderBy(process => process.Pid), ClusterProcess.All(cluster.State).OrderBy(process => process.Pid));
        foreach (var process in processes)
        {
            var (descriptors, threads, resident) = before[process.Pid];
            Until($"{process} has closed what was opened", () =>
                process.Usage() is var now && now.Descriptors <= descriptors + Slack && now.Threads <= threads + Slack, process);
            Assert.True(process.Usage().ResidentBytes <= resident + GrowthMaxBytes, $"{process} grew from {resident} to {process.Usage().ResidentBytes} bytes");
        }
        Assert.Contains("\"healthy\": true", cluster.Program(60, "status", "--json").Run().MustSucceed(), StringComparison.Ordinal);
    }

    [Fact]
    public void EveryWellFormedRequestIsAnsweredWhateverItsMessageSays()
    {
        var servers = Listener.Of(ClusterProcess.All(cluster.State)).Where(listener => listener.Type == SocketType.Stream && IsRpc(listener)).ToArray();
        Assert.Equal(["controller", "metadata", "node", "storage", "storage"], servers.Select(server => server.Process.Role).Order());
        // Shutdown ends a storage server and a daemon by right.
        Opcode[] opcodes = [.. Enum.GetValues<Opcode>().Where(opcode => opcode != Opcode.Shutdown), (Opcode)0x0199, (Opcode)0xFFFF];
        foreach (var server in servers)
        {
            using var socket = server.Connect();
            socket.ReceiveTimeout = 60_000;
            ulong sent = 0;
            foreach (var opcode in opcodes)
            {
                for (int i = 0; i < 20; i++)
                {
                    socket.Send(Frame(opcode, ++sent, Bytes(i == 0 ? 0 : random.Next(200)), Bytes(i % 5 == 1 ? random.Next(100_000) : 0)));
                    // One at a time: a connection that is dropped is dropped by this request.
                    var reply = ReadReply(socket, opcode);
                    Assert.Equal(sent, reply.RequestId);
                    Assert.NotEqual((int)Status.Internal, reply.Status);
                }
            }
        }
        Work();
    }

    private static FrameHeader ReadReply(Socket socket, Opcode opcode)
    {
        var header = MemoryMarshal.Read<FrameHeader>(Exactly(socket, FrameHeader.SizeBytes, opcode));
        Exactly(socket, (int)(header.HeadLength + header.BodyLength), opcode);
        return header;
    }

    private static byte[] Exactly(Socket socket, int count, Opcode opcode)
    {
        var bytes = new byte[count];
        for (int have = 0; have < count;)
        {
            int received = socket.Receive(bytes.AsSpan(have));
            Assert.True(received > 0, $"the connection ended at {opcode}");
            have += received;
        }
        return bytes;
    }

    /// <summary>A frame without a fault in itself.</summary>
    private static byte[] Frame(Opcode opcode, ulong requestId, byte[] head, byte[] body, Func<FrameHeader, FrameHeader>? change = null)
    {
        var header = new FrameHeader
        {
            Magic = FrameHeader.MagicValue, Version = FrameHeader.CurrentVersion, Opcode = opcode, RequestId = requestId,
            Session = requestId << 33, Slot = (uint)requestId % 2000, Sequence = (uint)requestId % 3,
            HeadLength = (uint)head.Length, BodyLength = (uint)body.Length, HeadChecksum = Crc32C.Compute(head),
        };
        header = change?.Invoke(header) ?? header;
        var bytes = new byte[FrameHeader.SizeBytes];
        MemoryMarshal.Write(bytes, header);
        header.HeaderChecksum = Crc32C.Compute(bytes.AsSpan(0, FrameHeader.SizeBytes - 4));
        MemoryMarshal.Write(bytes, header);
        return [.. bytes, .. head, .. body];
    }

    /// <summary>Does it speak the wire between roles? The others listening on streams speak HTTP.</summary>
    private static bool IsRpc(Listener listener)
    {
        using var socket = listener.Connect();
        socket.Send(Frame(Opcode.None, 1, [], []));
        socket.ReceiveTimeout = 60_000;
        var answer = new byte[4];
        return socket.Receive(answer) == 4 && BitConverter.ToUInt32(answer) == FrameHeader.MagicValue;
    }

    private void Attack(Listener listener, List<Socket> held)
    {
        byte[] good = Frame(Opcode.Lookup, 1, Bytes(20), []);
        byte[][] openings =
        [
            [],
            good[..10], good[..63], good[..^1],
            Frame(Opcode.Lookup, 1, [], [], header => header with { HeadLength = 1 << 20 }), // and then nothing
            Frame(Opcode.WriteBlock, 1, [], [], header => header with { BodyLength = 1 << 20 }),
            Encoding.ASCII.GetBytes("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: "),
            Encoding.ASCII.GetBytes("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nfew"),
        ];
        byte[][] wrong =
        [
            Frame(Opcode.Lookup, 1, [], [], header => header with { Magic = 1 }),
            Frame(Opcode.Lookup, 1, [], [], header => header with { Version = 2 }),
            Frame(Opcode.Lookup, 1, [], [], header => header with { HeadLength = uint.MaxValue }),
            Frame(Opcode.Lookup, 1, [], [], header => header with { BodyLength = uint.MaxValue }),
            Frame(Opcode.Lookup, 1, Bytes(10), [], header => header with { HeadChecksum = 1 }),
            Frame(Opcode.Lookup, 77, Bytes(10), [], header => header with { Flags = FrameFlags.Reply }),
            [.. good, .. Bytes(1000)],
            Encoding.ASCII.GetBytes("GET /" + new string('a', 200_000) + " HTTP/1.1\r\n\r\n"),
            Encoding.ASCII.GetBytes("READY=1\nMAINPID=1\nERRNO=notanumber\n\n=\n\0"),
            .. Enumerable.Range(0, 30).Select(_ => Bytes(random.Next(5000))),
        ];
        foreach (byte[] bytes in wrong)
        {
            using var socket = listener.Connect();
            Send(socket, bytes);
        }
        if (listener.Type != SocketType.Dgram)
        {
            for (int i = 0; i < ConnectionsHeldOpen; i++)
            {
                var socket = listener.Connect();
                held.Add(socket);
                Send(socket, openings[i % openings.Length]);
            }
        }
    }

    /// <summary>The other side may have had enough before all was sent.</summary>
    private static void Send(Socket socket, byte[] bytes)
    {
        try
        {
            socket.Send(bytes);
        }
        catch (SocketException)
        {
            // Closed, or longer than a message may be.
        }
    }

    private byte[] Bytes(int count)
    {
        var bytes = new byte[count];
        random.NextBytes(bytes);
        return bytes;
    }

    /// <summary>New files, their bytes and names, and the node's way to every server.</summary>
    private void Work() => new Command(cluster.Home, 120, "/bin/bash", "-euc", $"""
        cd {cluster.First}
        mkdir d
        head -c 3000000 /dev/urandom > d/large
        cp d/large d/copy
        cmp d/large d/copy
        for i in $(seq 50); do echo $i > d/$i; mv d/$i d/new$i; done
        test $(ls d | wc -l) = 52
        rm -r d
        """).Run().MustSucceed();

    private static void Until(string what, Func<bool> condition, ClusterProcess process)
    {
        var clock = System.Diagnostics.Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(clock.Elapsed < TimeSpan.FromSeconds(60), $"not within a minute: {what}; it has {process.Usage()}");
            Thread.Sleep(50);
        }
    }
}
