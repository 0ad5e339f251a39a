using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Metadata.Namespace.Operations;
using EphemeralFs.Rpc;
using Microsoft.Extensions.Logging.Abstractions;

namespace EphemeralFs.Tests.Unit.Metadata;

/// <summary>A volume in a directory, changed as the service does it: apply, journal, record the answer.</summary>
internal sealed class JournaledVolume : IDisposable
{
    private readonly OpContext _context = new();
    private readonly Dictionary<ulong, uint> _sequences = [];
    private byte[] _reply = new byte[1024];

    public JournaledVolume(
        string directory, ulong limitBytes = 0, ulong limitInodes = 0, long snapshotAfterBytes = 1 << 30, uint id = TestVolume.Id)
    {
        DirectoryPath = directory;
        if (!Directory.Exists(directory))
        {
            VolumeStore.Create(directory, new VolumeState(id, limitBytes, limitInodes, 1));
        }

        (Store, State) = VolumeStore.Open(directory, id, snapshotAfterBytes, NullLogger.Instance);
    }

    public string DirectoryPath { get; }

    public VolumeStore Store { get; }

    public VolumeState State { get; }

    public long TimeNs { get; private set; } = 1_000_000;

    public string JournalPath => Path.Combine(DirectoryPath, $"journal-{Store.Journal.Number:D16}");

    /// <summary>A volume with what this one has now.</summary>
    public JournaledVolume Copy(string directory, uint id)
    {
        VolumeStore.Create(directory, target => Snapshot.WriteCopy(target, State, id, 0, 0));
        return new JournaledVolume(directory, id: id);
    }

    public SessionState BeginSession()
    {
        var session = SessionLife.Begin(State, "node");
        Append((ref WireWriter w) => Records.SessionBegun(ref w, "node", opening: 0));
        return session;
    }

    public void EndSession(SessionState session)
    {
        var time = ++TimeNs;
        SessionLife.End(State, _context.Begin(session, time));
        Append((ref WireWriter w) => Records.SessionEnded(ref w, session.Id, time));
    }

    public void DeleteBlocks(uint server, int count)
    {
        Assert.True(State.Blocks.Deleted(server, count));
        Append((ref WireWriter w) => Records.BlocksDeleted(ref w, server, (uint)count));
    }

    public Status Execute(SessionState session, Opcode opcode, ReadOnlyMemory<byte> head, uint slot = 0)
    {
        var row = OperationTable.Find(opcode)!;
        var sequence = _sequences[session.Id] = _sequences.GetValueOrDefault(session.Id) + 1;
        var header = new FrameHeader { Opcode = opcode, Session = session.Id, TimeNs = ++TimeNs, Slot = slot, Sequence = sequence };
        var writer = new WireWriter(_reply);
        var status = row.Execute(State, _context.Begin(session, header.TimeNs), head, ref writer);
        _reply = writer.Buffer;
        if (status == Status.OK && row.Mutates)
        {
            session.Slot(slot).Record(sequence, _context.Changed?.Ino ?? 0, writer.Written);
            Append((ref WireWriter w) => Records.Request(ref w, header, head.Span));
        }
        else if (status != Status.OK && opcode == Opcode.SetLock && RpcCall.TryRead<EphemeralFs.Rpc.Messages.SetLockRequest>(head, out var q) && q.Flock)
        {
            Append((ref WireWriter w) => Records.FlockLost(ref w, q.Ino, new(session.Id, q.Owner)));
        }

        return status;
    }

    /// <summary>The state that the files give.</summary>
    public byte[] Replayed()
    {
        var copy = DirectoryPath + ".copy";
        CopyTo(copy);
        try
        {
            using var again = new JournaledVolume(copy, id: State.Id);
            return Snapshot.Dump(again.State);
        }
        finally
        {
            Directory.Delete(copy, true);
        }
    }

    public void CopyTo(string target)
    {
        Directory.CreateDirectory(target);
        foreach (var file in Directory.GetFiles(DirectoryPath))
        {
            File.Copy(file, Path.Combine(target, Path.GetFileName(file)));
        }
    }

    public void Dispose() => Store.Dispose();

    private delegate void Encode(ref WireWriter w);

    private void Append(Encode encode)
    {
        var w = Store.Journal.Begin();
        encode(ref w);
        Store.Journal.Append(w);
        Store.Flush();
    }
}
