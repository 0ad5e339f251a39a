namespace EphemeralFs.FuseMount.Fuse;

/// <summary>The requests that one reader has read and nobody has answered: a linked list through the requests themselves.</summary>
/// <remarks>Added and removed in constant time without allocation; searched only by the rare INTERRUPT.</remarks>
internal sealed class FuseInFlight
{
    private FuseRequest? _first;

    /// <summary>Guards the list and the interrupt fields of the requests in it.</summary>
    public Lock Gate { get; } = new();

    public void Add(FuseRequest request)
    {
        lock (Gate)
        {
            request.ListPrevious = null;
            request.ListNext = _first;
            if (_first is not null)
            {
                _first.ListPrevious = request;
            }
            _first = request;
        }
    }

    public void Remove(FuseRequest request)
    {
        lock (Gate)
        {
            if (request.ListPrevious is null)
            {
                _first = request.ListNext;
            }
            else
            {
                request.ListPrevious.ListNext = request.ListNext;
            }
            if (request.ListNext is not null)
            {
                request.ListNext.ListPrevious = request.ListPrevious;
            }
            request.ListPrevious = null;
            request.ListNext = null;
        }
    }

    /// <summary>Finds a request by its number without the resend bit and takes its hook.</summary>
    public bool TryInterrupt(ulong unique, out FuseInterruptHook hook)
    {
        lock (Gate)
        {
            for (FuseRequest? request = _first; request is not null; request = request.ListNext)
            {
                if (request.Unique == unique)
                {
                    hook = request.TakeInterruptHook();
                    return true;
                }
            }
        }
        hook = default;
        return false;
    }

    /// <summary>Takes the hooks of all requests, for the end of the connection.</summary>
    public List<FuseInterruptHook> InterruptAll()
    {
        var hooks = new List<FuseInterruptHook>();
        lock (Gate)
        {
            for (FuseRequest? request = _first; request is not null; request = request.ListNext)
            {
                hooks.Add(request.TakeInterruptHook());
            }
        }
        return hooks;
    }

    /// <summary>What is in flight, for dumps.</summary>
    public void Collect(List<FuseInFlightInfo> list)
    {
        lock (Gate)
        {
            for (FuseRequest? request = _first; request is not null; request = request.ListNext)
            {
                list.Add(new FuseInFlightInfo(
                    request.Opcode, request.Unique, request.NodeId, request.Pid, request.ElapsedMs, request.IsInterrupted));
            }
        }
    }
}

/// <summary>A request that has no answer yet.</summary>
public readonly record struct FuseInFlightInfo(
    FuseOpcode Opcode, ulong Unique, ulong NodeId, uint Pid, double ElapsedMs, bool Interrupted);
