using System.Net.Sockets;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>Whatever comes in over the socket, the server serves on and its state is what was acknowledged.</summary>
public class HostileTests : MetadataFixture
{
    [Fact]
    public async Task Random_bytes_on_the_socket_disturb_nobody()
    {
        var node = await NodeAsync();
        await node.CreateAsync("f");
        var random = new Random(17);
        for (var i = 0; i < 50; i++)
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await socket.ConnectAsync(Host.Endpoint.Address);
            var bytes = new byte[random.Next(300)];
            random.NextBytes(bytes);
            await socket.SendAsync(bytes);
        }

        Assert.Equal(Status.OK, await node.LookupAsync("f"));
    }

    [Fact]
    public async Task Random_messages_of_every_opcode_are_answered()
    {
        var node = await NodeAsync();
        await node.CreateAsync("f");
        var random = new Random(18);
        foreach (var opcode in Enum.GetValues<Opcode>().Where(o => (int)o is > 0 and < 0x180 && o != Opcode.CloseSession && o != Opcode.DeleteVolume))
        {
            RandomMessage.Code = opcode;
            for (var i = 0; i < 60; i++)
            {
                RandomMessage.Bytes = new byte[random.Next(150)];
                random.NextBytes(RandomMessage.Bytes);
                var reply = await node.CallAsync<RandomMessage, RandomMessage>(default, slot: 9).WaitAsync(Patience);
                Assert.NotEqual(Status.Internal, reply.Status);
                Assert.NotEqual(Status.Unavailable, reply.Status);
            }
        }

        Assert.Equal(Status.OK, await node.LookupAsync("f"));
        var before = Host.Dump(1);
        Restart();
        Assert.Equal(before, Host.Dump(1));
    }

    /// <summary>Any opcode with any bytes.</summary>
    private readonly record struct RandomMessage : IRequest<RandomMessage, RandomMessage>
    {
        public static Opcode Code;
        public static byte[] Bytes = [];

        public static Opcode Opcode => Code;

        public void Write(ref WireWriter w) => Bytes.CopyTo(w.Take(Bytes.Length));

        public static RandomMessage Read(ref WireReader r)
        {
            while (!r.AtEnd && !r.Failed)
            {
                r.U8();
            }

            return default;
        }
    }
}
