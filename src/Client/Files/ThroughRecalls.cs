namespace EphemeralFs.Client.Files;

/// <summary>
/// Which inodes the server has told this node to write through (<see cref="Rpc.Messages.RecallAction.GoThrough"/>). An open whose question went out before holds to
/// that although its answer, which was made up before too, does not say so.
/// </summary>
internal sealed class ThroughRecalls
{
    /// <summary>Inodes share places: at worst a file is written through that need not be.</summary>
    private const int Places = 256;

    private readonly long[] _recalled = new long[Places];
    private long _sequence;

    /// <summary>A question goes out; goes with its answer to <see cref="IsOvertaken"/>.</summary>
    public long Ask() => Volatile.Read(ref _sequence);

    /// <summary>A recall has come. Called on the connection's receive thread before it is looked whether the file is open.</summary>
    public void Note(ulong ino) => Volatile.Write(ref _recalled[ino % Places], Interlocked.Increment(ref _sequence));

    /// <summary>Whether a recall of the inode has come since the question.</summary>
    public bool IsOvertaken(long asked, ulong ino) => Volatile.Read(ref _recalled[ino % Places]) > asked;
}
