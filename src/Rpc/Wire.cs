using System.Buffers.Binary;
using System.Text;

namespace EphemeralFs.Rpc;

/// <summary>Writes a message, little-endian, into a buffer that grows.</summary>
/// <remarks>Integers have fixed width; byte strings carry a 32-bit length; lists a 32-bit count.</remarks>
public ref struct WireWriter(byte[] buffer)
{
    private byte[] _buffer = buffer;
    private int _length;

    /// <summary>Bytes written so far.</summary>
    public readonly int Length => _length;

    /// <summary>The buffer as it is now: it may have been replaced by a larger one.</summary>
    public readonly byte[] Buffer => _buffer;

    /// <summary>What was written.</summary>
    public readonly ReadOnlySpan<byte> Written => _buffer.AsSpan(0, _length);

    public void U8(byte value) => Take(1)[0] = value;

    public void Bool(bool value) => U8(value ? (byte)1 : (byte)0);

    public void U32(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Take(4), value);

    public void I32(int value) => BinaryPrimitives.WriteInt32LittleEndian(Take(4), value);

    public void U64(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Take(8), value);

    public void I64(long value) => BinaryPrimitives.WriteInt64LittleEndian(Take(8), value);

    public void Bytes(ReadOnlySpan<byte> value)
    {
        U32((uint)value.Length);
        value.CopyTo(Take(value.Length));
    }

    public void Bytes(ReadOnlyMemory<byte> value) => Bytes(value.Span);

    public void Text(string value)
    {
        var length = Encoding.UTF8.GetByteCount(value);
        U32((uint)length);
        Encoding.UTF8.GetBytes(value, Take(length));
    }

    /// <summary>Room for <paramref name="count"/> bytes that the caller fills.</summary>
    public Span<byte> Take(int count)
    {
        if (_buffer.Length - _length < count)
        {
            Array.Resize(ref _buffer, Math.Max(_buffer.Length * 2, _length + count));
        }

        var span = _buffer.AsSpan(_length, count);
        _length += count;
        return span;
    }
}

/// <summary>Reads a message. A short or malformed one never throws: it sets <see cref="Failed"/> and every further value is 0 or empty.</summary>
/// <param name="data">The message.</param>
/// <param name="copy">Whether byte strings are copied out (replies, anything that is kept) or are slices of <paramref name="data"/>,
/// valid only while the request is being handled.</param>
public ref struct WireReader(ReadOnlyMemory<byte> data, bool copy)
{
    private readonly ReadOnlyMemory<byte> _memory = data;
    private readonly ReadOnlySpan<byte> _data = data.Span;
    private readonly bool _copy = copy;
    private int _position;

    /// <summary>Whether something was missing or out of bounds.</summary>
    public bool Failed { get; private set; }

    /// <summary>Whether everything was read and nothing failed.</summary>
    public readonly bool AtEnd => !Failed && _position == _data.Length;

    public byte U8() => Take(1, out var s) ? s[0] : (byte)0;

    public bool Bool() => U8() != 0;

    public uint U32() => Take(4, out var s) ? BinaryPrimitives.ReadUInt32LittleEndian(s) : 0;

    public int I32() => Take(4, out var s) ? BinaryPrimitives.ReadInt32LittleEndian(s) : 0;

    public ulong U64() => Take(8, out var s) ? BinaryPrimitives.ReadUInt64LittleEndian(s) : 0;

    public long I64() => Take(8, out var s) ? BinaryPrimitives.ReadInt64LittleEndian(s) : 0;

    /// <summary>A byte string of at most <paramref name="max"/> bytes.</summary>
    public ReadOnlyMemory<byte> Bytes(int max)
    {
        var length = U32();
        var start = _position;
        if (length > (uint)max || !Take((int)length, out var span))
        {
            Failed = true;
            return default;
        }

        return _copy ? span.ToArray() : _memory.Slice(start, (int)length);
    }

    public string Text(int max)
    {
        var length = U32();
        if (length > (uint)max || !Take((int)length, out var span))
        {
            Failed = true;
            return "";
        }

        return Encoding.UTF8.GetString(span);
    }

    /// <summary>The count of a list whose elements take at least <paramref name="elementBytes"/> each: never more than can follow.</summary>
    public int Count(int elementBytes)
    {
        var count = U32();
        if (Failed || count > (uint)((_data.Length - _position) / elementBytes))
        {
            Failed = true;
            return 0;
        }

        return (int)count;
    }

    private bool Take(int count, out ReadOnlySpan<byte> span)
    {
        if (Failed || _data.Length - _position < count)
        {
            Failed = true;
            span = default;
            return false;
        }

        span = _data.Slice(_position, count);
        _position += count;
        return true;
    }
}

/// <summary>A message that can be written to and read from a frame.</summary>
public interface IWireMessage<TSelf>
    where TSelf : struct, IWireMessage<TSelf>
{
    /// <summary>Appends the fields in their order on the wire.</summary>
    void Write(ref WireWriter w);

    /// <summary>Reads the fields; the caller checks <see cref="WireReader.AtEnd"/>.</summary>
    static abstract TSelf Read(ref WireReader r);
}

/// <summary>A request message: which opcode carries it and which message answers it.</summary>
public interface IRequest<TSelf, TReply> : IWireMessage<TSelf>
    where TSelf : struct, IRequest<TSelf, TReply>
    where TReply : struct, IWireMessage<TReply>
{
    /// <summary>The opcode of the request's frame.</summary>
    static abstract Opcode Opcode { get; }
}

/// <summary>A message without fields.</summary>
public readonly record struct Empty : IWireMessage<Empty>
{
    public void Write(ref WireWriter w)
    {
    }

    public static Empty Read(ref WireReader r) => default;
}
