using System.Buffers.Binary;
using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>Where the parts of one message lie. Offsets count from the start of the message, bytes.</summary>
[StructLayout(LayoutKind.Auto)]
public struct FuseParsed
{
    /// <summary>Bytes of fixed input that are present, after the header.</summary>
    public int InputSize;
    public int NameOffset;
    public int NameLength;
    public int Name2Offset;
    public int Name2Length;
    public int PayloadOffset;
    public int PayloadLength;
}

/// <summary>Takes a message apart as its row of <see cref="FuseOpcodeTable"/> says. Believes no length.</summary>
public static class FuseParser
{
    /// <summary>Size of <see cref="FuseInHeader"/>.</summary>
    public const int HeaderSize = 40;

    /// <summary>Reads the header.</summary>
    /// <returns>EINVAL if the message is shorter than a header: there is then nobody to answer.</returns>
    public static Errno ReadHeader(ReadOnlySpan<byte> message, out FuseInHeader header) =>
        MemoryMarshal.TryRead(message, out header) ? Errno.OK : Errno.EINVAL;

    /// <summary>Checks a message against its row and finds its parts.</summary>
    /// <param name="message">The whole message, header included.</param>
    /// <param name="header">Its header.</param>
    /// <param name="row">Its row.</param>
    /// <param name="compatSizes">Whether the structures have their sizes from before they were extended.</param>
    /// <param name="parsed">The parts; meaningful when the result is OK.</param>
    /// <returns>OK; EIO if the message's length is not the one in its header; EINVAL if it is shorter than its row demands,
    /// a name is not terminated or empty, or a count points past the end; ENAMETOOLONG if a name is longer than
    /// <see cref="Limits.NameMaxBytes"/>, which the kernel leaves to us (its own bound is FUSE_NAME_MAX, 1024).</returns>
    public static Errno Parse(
        ReadOnlySpan<byte> message, in FuseInHeader header, FuseOpcodeRow row, bool compatSizes, out FuseParsed parsed)
    {
        parsed = default;
        if (header.Length != (uint)message.Length)
        {
            return Errno.EIO;
        }
        int position = HeaderSize;
        int extensions = header.TotalExtLength * 8;
        int end = message.Length - extensions;
        int inputSize = compatSizes ? row.CompatInputSize : row.InputSize;
        if (end - position < inputSize)
        {
            return Errno.EINVAL;
        }
        parsed.InputSize = inputSize;
        position += inputSize;

        if (row.Names > 0)
        {
            int length = message[position..end].IndexOf((byte)0);
            if (length <= 0)
            {
                return Errno.EINVAL;
            }
            if (length > Limits.NameMaxBytes)
            {
                return Errno.ENAMETOOLONG;
            }
            parsed.NameOffset = position;
            parsed.NameLength = length;
            position += length + 1;
        }
        if (row.Names > 1)
        {
            int length = message[position..end].IndexOf((byte)0);
            if (length <= 0)
            {
                return Errno.EINVAL;
            }
            // The second string of SYMLINK is a target, not a name.
            if (length > Limits.NameMaxBytes && row.Opcode != FuseOpcode.SYMLINK)
            {
                return Errno.ENAMETOOLONG;
            }
            parsed.Name2Offset = position;
            parsed.Name2Length = length;
            position += length + 1;
        }
        if (row.Payload.Present)
        {
            uint count = BinaryPrimitives.ReadUInt32LittleEndian(message[(HeaderSize + row.Payload.CountOffset)..]);
            long bytes = (long)count * row.Payload.UnitBytes;
            if (bytes > end - position)
            {
                return Errno.EINVAL;
            }
            parsed.PayloadOffset = position;
            parsed.PayloadLength = (int)bytes;
        }
        return Errno.OK;
    }
}
