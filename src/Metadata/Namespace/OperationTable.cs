using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace.Operations;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>An operation on a volume: reads or changes the state and answers. Anything but OK leaves the state as it was.</summary>
public delegate Status Operation<TRequest, TReply>(VolumeState v, OpContext c, in TRequest q, out TReply r);

/// <summary>Adds the sessions that stand in the way of an operation.</summary>
public delegate void ConflictCheck<TRequest>(VolumeState v, SessionState session, in TRequest q, List<RecallNeed> needs);

/// <summary>A row of the opcode table.</summary>
/// <param name="opcode">Which request.</param>
/// <param name="mutates">Whether it changes the state: then it occupies a slot and is journaled.</param>
public abstract class OperationRow(Opcode opcode, bool mutates)
{
    public Opcode Opcode => opcode;

    public bool Mutates => mutates;

    /// <summary>Decodes and applies a request and appends the encoded answer. BadRequest when it is malformed.</summary>
    public abstract Status Execute(VolumeState v, OpContext c, ReadOnlyMemory<byte> head, ref WireWriter reply);

    /// <summary>Adds the sessions that must write through before the request may be executed. A malformed request has none.</summary>
    public abstract void Inspect(VolumeState v, SessionState session, ReadOnlyMemory<byte> head, List<RecallNeed> needs);
}

/// <summary>All session operations of the metadata server: parsing, dispatch, replay and metrics read the same row.</summary>
public static class OperationTable
{
    private static readonly OperationRow[] s_rows =
    [
        new Row<LookupRequest, EntryReply>(LookupRequest.Opcode, false, Lookup.Apply),
        new Row<GetAttrRequest, EntryReply>(GetAttrRequest.Opcode, false, GetAttr.Apply),
        new Row<ReadLinkRequest, ReadLinkReply>(ReadLinkRequest.Opcode, false, ReadLink.Apply),
        new Row<ReadDirRequest, ReadDirReply>(ReadDirRequest.Opcode, false, ReadDir.Apply),
        new Row<StatFsRequest, StatFsReply>(StatFsRequest.Opcode, false, StatFs.Apply),
        new Row<GetLayoutRequest, LayoutReply>(GetLayoutRequest.Opcode, false, GetLayout.Apply),
        new Row<SeekRequest, SeekReply>(SeekRequest.Opcode, false, Seek.Apply),
        new Row<GetXattrRequest, XattrReply>(GetXattrRequest.Opcode, false, GetXattr.Apply),
        new Row<ListXattrRequest, XattrReply>(ListXattrRequest.Opcode, false, ListXattr.Apply),
        new Row<GetLockRequest, GetLockReply>(GetLockRequest.Opcode, false, GetLock.Apply),

        new Row<AcquireGrantRequest, AcquireGrantReply>(AcquireGrantRequest.Opcode, true, AcquireGrant.Apply),
        new Row<ReturnGrantRequest, Empty>(ReturnGrantRequest.Opcode, true, ReturnGrant.Apply),
        new Row<SetAttrRequest, EntryReply>(SetAttrRequest.Opcode, true, SetAttr.Apply, Conflicts.SetAttr),
        new Row<MknodRequest, NameReply>(MknodRequest.Opcode, true, Mknod.Apply),
        new Row<CreateRequest, CreateReply>(CreateRequest.Opcode, true, Create.Apply, Conflicts.Create),
        new Row<CreateAndCommitRequest, CreateAndCommitReply>(CreateAndCommitRequest.Opcode, true, CreateAndCommit.Apply, Conflicts.CreateAndCommit),
        new Row<TmpfileRequest, OpenReply>(TmpfileRequest.Opcode, true, Tmpfile.Apply),
        new Row<UnlinkRequest, NameReply>(UnlinkRequest.Opcode, true, Unlink.Apply, Conflicts.Unlink),
        new Row<RmdirRequest, NameReply>(RmdirRequest.Opcode, true, Rmdir.Apply),
        new Row<RenameRequest, RenameReply>(RenameRequest.Opcode, true, Rename.Apply, Conflicts.Rename),
        new Row<LinkRequest, NameReply>(LinkRequest.Opcode, true, Link.Apply),
        new Row<OpenNameRequest, OpenNameReply>(OpenNameRequest.Opcode, true, OpenName.Apply),
        new Row<OpenRequest, OpenReply>(OpenRequest.Opcode, true, Open.Apply, Conflicts.Open),
        new Row<CloseRequest, Empty>(CloseRequest.Opcode, true, Close.Apply),
        new Row<CommitRequest, CommitReply>(CommitRequest.Opcode, true, Commit.Apply, Conflicts.Commit),
        new Row<FallocateRequest, EntryReply>(FallocateRequest.Opcode, true, Fallocate.Apply, Conflicts.Fallocate),
        new Row<CloneRequest, CloneReply>(CloneRequest.Opcode, true, Clone.Apply, Conflicts.Clone),
        new Row<SetXattrRequest, Empty>(SetXattrRequest.Opcode, true, SetXattr.Apply),
        new Row<RemoveXattrRequest, Empty>(RemoveXattrRequest.Opcode, true, RemoveXattr.Apply),
        new Row<SetLockRequest, Empty>(SetLockRequest.Opcode, true, SetLock.Apply),
    ];

    private static readonly OperationRow?[] s_byOpcode = Index();

    /// <summary>All rows.</summary>
    public static IReadOnlyList<OperationRow> Rows => s_rows;

    /// <summary>The row of an opcode, or null.</summary>
    public static OperationRow? Find(Opcode opcode) => (uint)opcode < (uint)s_byOpcode.Length ? s_byOpcode[(int)opcode] : null;

    private static OperationRow?[] Index()
    {
        var rows = new OperationRow?[s_rows.Max(row => (int)row.Opcode) + 1];
        foreach (var row in s_rows)
        {
            rows[(int)row.Opcode] = row;
        }

        return rows;
    }

    private sealed class Row<TRequest, TReply>(
        Opcode opcode, bool mutates, Operation<TRequest, TReply> apply, ConflictCheck<TRequest>? conflicts = null)
        : OperationRow(opcode, mutates)
        where TRequest : struct, IWireMessage<TRequest>
        where TReply : struct, IWireMessage<TReply>
    {
        public override Status Execute(VolumeState v, OpContext c, ReadOnlyMemory<byte> head, ref WireWriter reply)
        {
            var reader = new WireReader(head, copy: false);
            var request = TRequest.Read(ref reader);
            if (!reader.AtEnd)
            {
                return Status.BadRequest;
            }

            var status = apply(v, c, request, out var answer);
            if (status == Status.OK)
            {
                answer.Write(ref reply);
            }

            return status;
        }

        public override void Inspect(VolumeState v, SessionState session, ReadOnlyMemory<byte> head, List<RecallNeed> needs)
        {
            if (conflicts is null)
            {
                return;
            }

            var reader = new WireReader(head, copy: false);
            var request = TRequest.Read(ref reader);
            if (reader.AtEnd)
            {
                conflicts(v, session, request, needs);
            }
        }
    }
}
