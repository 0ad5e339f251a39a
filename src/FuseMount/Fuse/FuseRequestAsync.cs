using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Fuse;

// Work that outlives its dispatch, and its faults. Apart because nothing can be awaited in an unsafe class body.
public sealed partial class FuseRequest
{
    /// <summary>Runs asynchronous work that answers this request; what it throws becomes EIO, and so does its forgetting to answer.</summary>
    /// <param name="state">Given to <paramref name="work"/>, so that it needs no closure.</param>
    /// <param name="work">Begins on this thread, may end on another.</param>
    public void Run<TState>(TState state, Func<FuseRequest, TState, ValueTask> work)
    {
        int generation = Volatile.Read(ref _generation);
        ValueTask task;
        try
        {
            task = work(this, state);
            if (task.IsCompletedSuccessfully)
            {
                task.GetAwaiter().GetResult();
                CheckAnswered(generation);
                return;
            }
        }
        catch (Exception e)
        {
            Fail(generation, e);
            return;
        }
        _ = AwaitAsync(task, generation);
    }

    private async Task AwaitAsync(ValueTask task, int generation)
    {
        try
        {
            await task;
            CheckAnswered(generation);
        }
        catch (Exception e)
        {
            Fail(generation, e);
        }
    }

    internal int Generation => Volatile.Read(ref _generation);

    internal bool IsOwedReply(int generation) =>
        Volatile.Read(ref _generation) == generation && Volatile.Read(ref _state) == InFlight;

    /// <summary>Reports a handler's exception and answers EIO, unless the request of that generation has its answer.</summary>
    internal void Fail(int generation, Exception exception)
    {
        bool owed = IsOwedReply(generation);
        _connection.ReportFault(owed ? Opcode : 0, owed ? Unique : 0, "a handler threw", exception);
        if (owed && _row.ReplyDue)
        {
            ReplyError(Errno.EIO);
        }
    }

    private void CheckAnswered(int generation)
    {
        if (IsOwedReply(generation) && _row.ReplyDue)
        {
            _connection.ReportFault(Opcode, Unique, "a handler ended without an answer", null);
            ReplyError(Errno.EIO);
        }
    }
}
