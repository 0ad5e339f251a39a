using System.Buffers.Binary;
using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace;

namespace EphemeralFs.Metadata.Journaling;

/// <summary>Writes and reads a volume's whole state. Equal states give equal bytes.</summary>
/// <remarks>Layout: magic, version, volume, number of the first segment that follows, number of its first record; the state
/// (<see cref="SnapshotWriter"/>); CRC32C over everything before. Little-endian.</remarks>
public static class Snapshot
{
    internal const uint Magic = 0x53534645;
    internal const uint Version = 3;
    internal const int HeaderBytes = 32;

    /// <summary>Writes a snapshot to <paramref name="target"/>.</summary>
    public static void Write(System.IO.Stream target, VolumeState state, ulong segment, ulong firstRecord) =>
        Write(target, state.Id, segment, firstRecord, w => SnapshotWriter.Write(w, state));

    /// <summary>Writes the first snapshot of a new volume that has the names and files of <paramref name="source"/>, and refers to its blocks.</summary>
    /// <remarks>Inodes keep their numbers, which are never given again. Sessions, handles, locks and grants are not copied, nor is what has no name.</remarks>
    public static void WriteCopy(System.IO.Stream target, VolumeState source, uint id, ulong limitBytes, ulong limitInodes) =>
        Write(target, id, 1, 1, w => SnapshotWriter.WriteCopy(w, source, limitBytes, limitInodes));

    private static void Write(
        System.IO.Stream target, uint volume, ulong segment, ulong firstRecord, Action<System.IO.BinaryWriter> writeState)
    {
        using var checksummed = new ChecksumStream(target);
        using (var w = new System.IO.BinaryWriter(checksummed, System.Text.Encoding.UTF8, leaveOpen: true))
        {
            w.Write(Magic);
            w.Write(Version);
            w.Write(volume);
            w.Write(0U);
            w.Write(segment);
            w.Write(firstRecord);
            writeState(w);
        }

        checksummed.FlushBlock();
        Span<byte> checksum = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(checksum, checksummed.Checksum);
        target.Write(checksum);
    }

    /// <summary>The state alone as bytes: two states are equal when these are.</summary>
    public static byte[] Dump(VolumeState state)
    {
        using var memory = new System.IO.MemoryStream();
        Write(memory, state, 0, 0);
        return memory.ToArray();
    }

    /// <summary>Writes a snapshot so that <paramref name="path"/> is whole or not there: to a temporary file, synced, then renamed. Returns its bytes.</summary>
    public static long WriteFile(string path, VolumeState state, ulong segment, ulong firstRecord) =>
        WriteFile(path, target => Write(target, state, segment, firstRecord));

    /// <summary>The same with a snapshot that <paramref name="write"/> makes; syncing comes after it.</summary>
    public static long WriteFile(string path, Action<System.IO.Stream> write)
    {
        var temporary = path + ".tmp";
        long length;
        using (var file = new System.IO.FileStream(temporary, System.IO.FileMode.Create, System.IO.FileAccess.Write))
        {
            write(file);
            file.Flush(flushToDisk: true);
            length = file.Length;
        }

        System.IO.File.Move(temporary, path, overwrite: true);
        return length;
    }

    /// <summary>Reads a snapshot.</summary>
    /// <exception cref="DamagedStateException">It is not whole, of another format, or of another volume.</exception>
    public static (VolumeState State, ulong Segment, ulong FirstRecord) ReadFile(string path, uint volume)
    {
        using var file = new System.IO.FileStream(path, System.IO.FileMode.Open, System.IO.FileAccess.Read, System.IO.FileShare.Read, 1 << 20);
        CheckWhole(path, file);
        file.Position = 0;
        using var r = new System.IO.BinaryReader(file);
        if (r.ReadUInt32() != Magic)
        {
            throw new DamagedStateException($"{path}: not a snapshot");
        }

        var version = r.ReadUInt32();
        if (version != Version)
        {
            throw new DamagedStateException($"{path}: written in format {version}, this program reads {Version}");
        }

        if (r.ReadUInt32() != volume)
        {
            throw new DamagedStateException($"{path}: belongs to another volume than {volume}");
        }

        r.ReadUInt32();
        var segment = r.ReadUInt64();
        var firstRecord = r.ReadUInt64();
        try
        {
            return (SnapshotReader.Read(r, volume), segment, firstRecord);
        }
        catch (Exception e) when (e is System.IO.IOException or OverflowException or ArgumentException or NullReferenceException)
        {
            throw new DamagedStateException($"{path}: {e.Message}");
        }
    }

    private static void CheckWhole(string path, System.IO.FileStream file)
    {
        var left = file.Length - sizeof(uint);
        var checksum = 0U;
        var buffer = new byte[1 << 20];
        while (left > 0)
        {
            var count = file.Read(buffer, 0, (int)Math.Min(buffer.Length, left));
            if (count == 0)
            {
                break;
            }

            checksum = Crc32C.Append(checksum, buffer.AsSpan(0, count));
            left -= count;
        }

        if (left != 0 || file.Length < HeaderBytes + sizeof(uint) || file.Read(buffer, 0, sizeof(uint)) != sizeof(uint)
            || BinaryPrimitives.ReadUInt32LittleEndian(buffer) != checksum)
        {
            throw new DamagedStateException($"{path}: not whole (its checksum does not match)");
        }
    }

    /// <summary>Collects what is written into blocks, and their checksum.</summary>
    private sealed class ChecksumStream(System.IO.Stream target) : System.IO.Stream
    {
        private readonly byte[] _block = new byte[1 << 18];
        private int _used;

        public uint Checksum { get; private set; }

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            while (!buffer.IsEmpty)
            {
                var count = Math.Min(buffer.Length, _block.Length - _used);
                buffer[..count].CopyTo(_block.AsSpan(_used));
                _used += count;
                buffer = buffer[count..];
                if (_used == _block.Length)
                {
                    FlushBlock();
                }
            }
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void WriteByte(byte value) => Write([value]);

        public void FlushBlock()
        {
            Checksum = Crc32C.Append(Checksum, _block.AsSpan(0, _used));
            target.Write(_block, 0, _used);
            _used = 0;
        }

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, System.IO.SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
