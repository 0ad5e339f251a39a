using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Controller.Journaling;

/// <summary>Kinds of records in the controller's journal. Numbers are never reused.</summary>
public enum ControlRecordKind : byte
{
    None = 0,

    /// <summary>A server has this id, and was last at this endpoint.</summary>
    Server = 1,

    /// <summary>A volume exists, on the metadata server <see cref="ControlRecord.Server"/>.</summary>
    Volume = 2,

    /// <summary>A volume is gone; its id stays used.</summary>
    VolumeRemoved = 3,

    /// <summary>Ids up to and including this one were given out (kept when removed volumes are dropped from the journal).</summary>
    LastVolumeId = 4,

    /// <summary>All volumes and servers that the metadata server <see cref="ControlRecord.Name"/> knew are in this journal.</summary>
    MetadataListed = 5,

    /// <summary>Something may be missing before this record: every metadata server is to be listed again.</summary>
    Incomplete = 6,
}

/// <summary>One fact that the controller must not forget.</summary>
/// <param name="Kind">Which of the other fields count.</param>
/// <param name="Id">Server or volume id.</param>
/// <param name="Role">Servers: the role.</param>
/// <param name="Name">Name of the server or volume.</param>
/// <param name="Text">Servers: the endpoint.</param>
/// <param name="Server">Volumes: name of the metadata server.</param>
/// <param name="LimitBytes">Volumes: quota.</param>
/// <param name="LimitInodes">Volumes: quota.</param>
/// <param name="Hints">Volumes: how they will be used. It and what follows is not there in records of before there were hints.</param>
/// <param name="Labels">Volumes: kept for whoever made them.</param>
/// <param name="Source">Volumes: the volume whose content they began with.</param>
/// <param name="SourceId">Volumes: the id of that one.</param>
/// <param name="CreatedNs">Volumes: when they were asked for.</param>
public readonly record struct ControlRecord(
    ControlRecordKind Kind,
    uint Id,
    ServerRole Role = ServerRole.None,
    string Name = "",
    string Text = "",
    string Server = "",
    ulong LimitBytes = 0,
    ulong LimitInodes = 0,
    string Hints = "",
    Label[]? Labels = null,
    string Source = "",
    uint SourceId = 0,
    long CreatedNs = 0)
    : IWireMessage<ControlRecord>
{
    public void Write(ref WireWriter w)
    {
        w.U8((byte)Kind);
        w.U32(Id);
        w.U8((byte)Role);
        w.Text(Name);
        w.Text(Text);
        w.Text(Server);
        w.U64(LimitBytes);
        w.U64(LimitInodes);
        if (Kind == ControlRecordKind.Volume)
        {
            w.Text(Hints);
            w.List(Labels ?? []);
            w.Text(Source);
            w.U32(SourceId);
            w.I64(CreatedNs);
        }
    }

    public static ControlRecord Read(ref WireReader r)
    {
        var record = new ControlRecord(
            (ControlRecordKind)r.U8(),
            r.U32(),
            (ServerRole)r.U8(),
            r.Text(255),
            r.Text(255),
            r.Text(255),
            r.U64(),
            r.U64());
        return record.Kind != ControlRecordKind.Volume || r.AtEnd
            ? record
            : record with { Hints = r.Text(255), Labels = r.List<Label>(8) is { Length: > 0 } labels ? labels : null, Source = r.Text(255), SourceId = r.U32(), CreatedNs = r.I64() };
    }
}
