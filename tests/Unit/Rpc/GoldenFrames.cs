using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Unit.Rpc;

/// <summary>
/// The bytes of <c>docs/protocol.md</c>, by hand where the document has the layout, and recorded in <c>golden-frames.txt</c> for every message:
/// nodes and servers of two builds talk to each other, so bytes that change are a new opcode or a new version.
/// </summary>
public sealed class GoldenFrames
{
    private const string Resource = "golden-frames.txt";

    [Fact]
    public void The_header_is_as_the_document_says()
    {
        var header = new FrameHeader
        {
            Magic = FrameHeader.MagicValue, Version = FrameHeader.CurrentVersion, Flags = FrameFlags.Reply, Opcode = Opcode.Rename,
            RequestId = 0x1122334455667788, Session = 0x99AABBCCDDEEFF01, Epoch = 0x0A0B0C0D, Status = -2, TimeNs = 0x0102030405060708,
            Slot = 1023, Sequence = 0x21222324, HeadLength = 1, BodyLength = 0x100000,
            HeadChecksum = Castagnoli([0x61]), HeaderChecksum = 0,
        };
        const string upToTheChecksum =
            "45465331" + "0a" + "01" + "1801" // magic, version, flags, opcode
            + "8877665544332211" + "01ffeeddccbbaa99" // request id, session
            + "0d0c0b0a" + "feffffff" // epoch, status
            + "0807060504030201" // time
            + "ff030000" + "24232221" // slot, sequence
            + "01000000" + "00001000" // lengths
            + "3043d0c1"; // CRC32C of "a": c1d04330
        var bytes = new byte[FrameHeader.SizeBytes];
        MemoryMarshal.Write(bytes, header);
        Assert.Equal(upToTheChecksum, Convert.ToHexStringLower(bytes.AsSpan(0, 60)));
        // The last field covers all others; the program's checksum is the one of the document, computed bit by bit.
        Assert.Equal(Castagnoli(bytes.AsSpan(0, 60)), Crc32C.Compute(bytes.AsSpan(0, 60)));
        Assert.Equal(0u, Crc32C.Compute([]));
    }

    [Fact]
    public void Messages_follow_the_rules_of_the_document()
    {
        Assert.Equal("0700000000000000" + "03000000" + "616263", Hex(new LookupRequest(7, "abc"u8.ToArray())));
        // Text and lists count first; a bool is a byte.
        Assert.Equal("02000000" + "7631" + "01", Hex(new RemoveVolumeRequest("v1", Force: true)));
        Assert.Equal("02000000" + "0100000000000000" + "0200000000000000" + "00", Hex(new ListBlocksReply([1, 2], End: false)));
        // Attributes have 92 bytes, an extent 32.
        Assert.Equal(92, Written(new EntryReply(default)).Length);
        var layout = new LayoutReply(default, IsInline: false, default, [new(0x10, 0x20, 0x30, 0x40, 0x50)], CoveredEnd: 0x60);
        Assert.Equal(
            "00" + "00000000" + "01000000" + "1000000000000000" + "2000000000000000" + "3000000000000000" + "40000000" + "50000000" + "6000000000000000",
            Hex(layout)[(92 * 2)..]);
    }

    [Fact]
    public void Every_message_has_the_bytes_that_were_recorded()
    {
        var recorded = Recorded();
        var problems = new List<string>();
        foreach (var type in Messages())
        {
            string line = Line(type);
            string name = line[..line.IndexOf(' ', StringComparison.Ordinal)];
            if (!recorded.Remove(name, out string? expected))
            {
                problems.Add($"not recorded: {line}");
            }
            else if (expected != line)
            {
                problems.Add($"recorded: {expected}\nnow:      {line}");
            }
        }
        problems.AddRange(recorded.Values.Select(line => $"recorded, and there no more: {line}"));
        Assert.True(problems.Count == 0, string.Join('\n', problems));
    }

    [Fact]
    public void Every_recorded_message_is_read_back_and_no_part_or_extension_of_it_is()
    {
        foreach (var type in Messages())
        {
            byte[] bytes = (byte[])Call(nameof(Written), type, Example(type, new Counter()))!;
            Assert.True((bool)Call(nameof(IsRead), type, bytes)!, type.Name);
            Assert.Equal(bytes, (byte[])Call(nameof(Rewritten), type, bytes)!);
            for (int length = 0; length < bytes.Length; length++)
            {
                Assert.False((bool)Call(nameof(IsRead), type, bytes[..length])!, $"{type.Name} of {length} bytes");
            }
            Assert.False((bool)Call(nameof(IsRead), type, bytes.Append((byte)0).ToArray())!, type.Name);
        }
    }

    private static Dictionary<string, string> Recorded()
    {
        using var stream = typeof(GoldenFrames).Assembly.GetManifestResourceStream(Resource)!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries).ToDictionary(line => line[..line.IndexOf(' ', StringComparison.Ordinal)]);
    }

    private static IEnumerable<Type> Messages() => typeof(LookupRequest).Assembly.GetTypes()
        .Where(type => type.IsValueType && type.GetInterfaces().Any(i => i.IsGenericType && i.GetGenericTypeDefinition() == typeof(IWireMessage<>)))
        .OrderBy(type => type.Name, StringComparer.Ordinal);

    /// <summary>Name, opcode (of requests), bytes.</summary>
    private static string Line(Type type)
    {
        string opcode = type.GetProperty("Opcode", BindingFlags.Public | BindingFlags.Static)?.GetValue(null) is Opcode value
            ? ((ushort)value).ToString("x4", CultureInfo.InvariantCulture)
            : "-";
        return $"{type.Name} {opcode} {Convert.ToHexStringLower((byte[])Call(nameof(Written), type, Example(type, new Counter()))!)}";
    }

    private static object? Call(string method, Type message, object argument) =>
        typeof(GoldenFrames).GetMethod(method, BindingFlags.NonPublic | BindingFlags.Static)!.MakeGenericMethod(message).Invoke(null, [argument]);

    private static string Hex<T>(T message)
        where T : struct, IWireMessage<T> => Convert.ToHexStringLower(Written(message));

    private static byte[] Written<T>(T message)
        where T : struct, IWireMessage<T>
    {
        var writer = new WireWriter(new byte[1]);
        message.Write(ref writer);
        return writer.Written.ToArray();
    }

    private static bool IsRead<T>(byte[] bytes)
        where T : struct, IWireMessage<T>
    {
        var reader = new WireReader(bytes, copy: true);
        _ = T.Read(ref reader);
        return reader.AtEnd;
    }

    private static byte[] Rewritten<T>(byte[] bytes)
        where T : struct, IWireMessage<T>
    {
        var reader = new WireReader(bytes, copy: true);
        return Written(T.Read(ref reader));
    }

    /// <summary>A value of a type in which every field differs from every other, so that none can change places unseen.</summary>
    private static object Example(Type type, Counter counter)
    {
        if (type == typeof(string))
        {
            return $"text {counter.Next()}";
        }
        if (type == typeof(ReadOnlyMemory<byte>))
        {
            return new ReadOnlyMemory<byte>(Encoding.UTF8.GetBytes($"bytes {counter.Next()}"));
        }
        if (type == typeof(bool))
        {
            return true;
        }
        if (type.IsEnum)
        {
            return Enum.ToObject(type, 1);
        }
        if (type.IsPrimitive)
        {
            return Convert.ChangeType(counter.Next(), type, CultureInfo.InvariantCulture);
        }
        if (type.IsArray)
        {
            var array = Array.CreateInstance(type.GetElementType()!, 2);
            array.SetValue(Example(type.GetElementType()!, counter), 0);
            array.SetValue(Example(type.GetElementType()!, counter), 1);
            return array;
        }
        if (type.GetConstructors().MaxBy(constructor => constructor.GetParameters().Length) is { } made && made.GetParameters().Length > 0)
        {
            return made.Invoke([.. made.GetParameters().Select(parameter => Example(parameter.ParameterType, counter))]);
        }
        object value = Activator.CreateInstance(type)!;
        foreach (var field in type.GetFields(BindingFlags.Public | BindingFlags.Instance))
        {
            field.SetValue(value, Example(field.FieldType, counter));
        }
        return value;
    }

    /// <summary>CRC32C as the RFC defines it.</summary>
    private static uint Castagnoli(ReadOnlySpan<byte> bytes)
    {
        uint crc = ~0u;
        foreach (byte b in bytes)
        {
            crc ^= b;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc >> 1) ^ ((crc & 1) * 0x82F63B78);
            }
        }
        return ~crc;
    }

    private sealed class Counter
    {
        private byte last;

        public byte Next() => ++last;
    }
}
