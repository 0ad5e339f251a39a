using System.Runtime.InteropServices;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Unit.Fuse;

/// <summary>Builds requests as the kernel would.</summary>
internal static class FuseMessages
{
    public static byte[] Build(FuseOpcode opcode, ulong unique, ulong node, ReadOnlySpan<byte> body)
    {
        var header = new FuseInHeader
        {
            Length = (uint)(40 + body.Length), Opcode = opcode, Unique = unique, NodeId = node, Uid = 1000, Gid = 1001, Pid = 77,
        };
        byte[] message = new byte[40 + body.Length];
        MemoryMarshal.Write(message, in header);
        body.CopyTo(message.AsSpan(40));
        return message;
    }

    public static byte[] Build<T>(FuseOpcode opcode, ulong unique, ulong node, in T input, params byte[][] rest)
        where T : unmanaged
    {
        var body = new List<byte>(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in input)).ToArray());
        foreach (byte[] part in rest)
        {
            body.AddRange(part);
        }
        return Build(opcode, unique, node, body.ToArray());
    }

    /// <summary>A name with its NUL.</summary>
    public static byte[] Name(string name) => [.. System.Text.Encoding.UTF8.GetBytes(name), 0];

    /// <summary>A well-formed request of any row, its payload of the given count.</summary>
    public static byte[] Valid(FuseOpcodeRow row, ulong unique, uint count = 0)
    {
        byte[] input = new byte[row.InputSize];
        if (row.Payload.Present)
        {
            BitConverter.TryWriteBytes(input.AsSpan(row.Payload.CountOffset), count);
        }
        var body = new List<byte>(input);
        for (int i = 0; i < row.Names; i++)
        {
            body.AddRange(Name("name" + i));
        }
        body.AddRange(new byte[count * row.Payload.UnitBytes]);
        return Build(row.Opcode, unique, 1, body.ToArray());
    }
}
