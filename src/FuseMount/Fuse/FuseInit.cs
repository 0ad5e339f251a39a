using System.Runtime.InteropServices;
using EphemeralFs.Core;
using EphemeralFs.Interop;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>The first exchange on a fresh mount.</summary>
internal static unsafe class FuseInit
{
    // A kernel with a newer major version offers twice; more is a broken peer.
    private const int MaxOffers = 3;

    public static FuseNegotiated Negotiate(FuseChannel channel, FuseConnectionOptions options)
    {
        using var buffer = new DisposableBuffer(FuseAbi.MinReadBuffer);
        for (int i = 0; i < MaxOffers; i++)
        {
            int length = Receive(channel, buffer.Value, options.InitTimeoutMs);
            var message = new ReadOnlySpan<byte>(buffer.Value.Start, length);
            FuseOpcodeRow row = FuseOpcodeTable.Find(FuseOpcode.INIT)!;
            if (FuseParser.ReadHeader(message, out FuseInHeader header) != Errno.OK
                || header.Opcode != FuseOpcode.INIT
                || FuseParser.Parse(message, header, row, compatSizes: true, out _) != Errno.OK)
            {
                throw new FuseProtocolException(Errno.EPROTO, "the kernel's first message is not INIT: is the descriptor in use already?");
            }
            FuseInitIn offer = default;
            int sent = Math.Min(sizeof(FuseInitIn), length - FuseParser.HeaderSize);
            message.Slice(FuseParser.HeaderSize, sent).CopyTo(MemoryMarshal.AsBytes(new Span<FuseInitIn>(ref offer)));

            Errno errno = FuseNegotiation.Answer(offer, options, out FuseInitOut reply, out FuseNegotiated? agreed);
            if (errno != Errno.OK)
            {
                Send(channel, header.Unique, errno, null);
                throw new FuseProtocolException(
                    errno, $"the kernel speaks FUSE {offer.Major}.{offer.Minor}, at least {FuseAbi.KernelVersion}.{FuseAbi.OldestMinor} (Linux 5.4) is needed");
            }
            errno = Send(channel, header.Unique, Errno.OK, &reply);
            if (errno != Errno.OK)
            {
                throw new FuseProtocolException(errno, $"the kernel refused the answer to INIT: {errno}");
            }
            if (agreed is not null)
            {
                options.Trace?.Invoke($"INIT {offer.Major}.{offer.Minor} -> 7.{agreed.Minor} {agreed.Flags} max_write={agreed.MaxWriteBytes}");
                return agreed;
            }
        }
        throw new FuseProtocolException(Errno.EPROTO, "the kernel does not settle on FUSE 7");
    }

    private static int Receive(FuseChannel channel, FuseBuffer buffer, int timeoutMs)
    {
        long deadline = Environment.TickCount64 + timeoutMs;
        while (true)
        {
            int left = (int)Math.Max(0, deadline - Environment.TickCount64);
            Errno errno = channel.WaitReadable(left);
            if (errno == Errno.OK)
            {
                errno = channel.Receive(buffer.Start, buffer.Capacity, out int length);
                if (errno == Errno.OK)
                {
                    return length;
                }
            }
            bool again = errno is Errno.EINTR or Errno.EAGAIN or Errno.ENOENT;
            if (!again || left == 0)
            {
                throw new FuseProtocolException(errno, $"no INIT from the kernel: {errno}");
            }
        }
    }

    private static Errno Send(FuseChannel channel, ulong unique, Errno error, FuseInitOut* reply)
    {
        FuseOutHeader header;
        IoVec* segments = stackalloc IoVec[2];
        segments[0].Base = &header;
        segments[0].Length = (nuint)sizeof(FuseOutHeader);
        segments[1].Base = reply;
        segments[1].Length = (nuint)sizeof(FuseInitOut);
        header.Length = (uint)(sizeof(FuseOutHeader) + (reply is null ? 0 : sizeof(FuseInitOut)));
        header.Error = -(int)error;
        header.Unique = unique;
        return channel.Send(segments, reply is null ? 1 : 2);
    }

    private readonly struct DisposableBuffer(int capacity) : IDisposable
    {
        public FuseBuffer Value { get; } = new(capacity, receives: true);

        public void Dispose() => ((IDisposable)Value).Dispose();
    }
}
